"""Attest an erasure: a certificate for each case, of what was done and found, mirrored into MLflow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from amends.errors import UnknownModel
from amends.governor.models.versions import of_case
from amends.governor.proof.closing import Entry, close_case, issue_certificate, issued_before, receipt_of
from amends.governor.proof.evidence import Approved, Evidence, Method, Outside, Purged, Tried
from amends.governor.proof.plots import readings_svg
from amends.governor.work.ancestry import history_of
from amends.governor.work.climbing import tried
from amends.governor.work.kinship import above_of, below_of
from amends.governor.work.measuring import change_of, readings
from amends.governor.work.piece import Result, Work, earlier
from amends.governor.work.retiring import is_retired, retired_lines
from amends.governor.work.scouring import drop_needles
from amends.governor.workspace import Workspace
from amends.ledger import approvals, cases, copies, datasets, decisions, inventory, lineage, people, reviews
from amends.ledger.actions import Action
from amends.policy import read_deadline
from amends.records import Change, Guarantee, ModelVersion, Reading

NO_STEP: Mapping[str, Any] = {"operation": "", "seed": 0, "parameters": {}}
NOTHING = ModelVersion("", 0, "")
STRANGERS = {
    "control": "Nobody was withheld from these records: the readings compare the person with made-up people in the "
    "same sentences, not with real people whom the model never saw.",
    "retain": "No record is left that was learnt beside the person's: what the model keeps was read on the same "
    "sentences about made-up people.",
}
"""What a certificate says where nobody real could be compared with, by what they were compared for."""

SUPPRESSION = (
    "The person's identifiers stand on the suppression list as keyed hashes; registering data or restoring a backup "
    "that names them is refused."
)


def attest(workspace: Workspace, work: Work) -> Result:
    """Sign a certificate for every case of this work and mirror them into MLflow."""
    signed = {}
    for case in work.cases:
        commitment = receipt_of(workspace, case)[1]
        signed[case] = issued_before(workspace, case, commitment) or _sign(workspace, work, case, commitment)
        page = mirror(workspace, work, case, Path(signed[case]["envelope"]).parent)
        if case == work.lead:
            _label(workspace, work, page, signed[case]["digest"])
    drop_needles(workspace, work)
    return {"certificates": signed}


def _label(workspace: Workspace, work: Work, page: str, certificate: str) -> None:
    """Link the new version's page in MLflow to the case that made it, and name that case's certificate there."""
    if is_retired(workspace, work):
        return
    parent, made = earlier(workspace, work, "prepare")["parent"], earlier(workspace, work, "register")
    if made["version"] != parent["version"]:
        with suppress(UnknownModel):  # a later case has replaced and purged it already
            workspace.registry.tag_version(
                work.model, made["version"], {"amends.certificate": certificate}, of_case(work.lead, page)
            )


def _sign(workspace: Workspace, work: Work, case: str, commitment: str) -> dict[str, str]:
    with workspace.database.read() as connection:
        outcome = reviews.outcome_of(connection, case)
    body = {"outcome": outcome, "commitment": commitment, **_digests(workspace, work)}
    entry, inclusion = close_case(workspace, case, Action.CASE_CLOSED, body)
    return issue_certificate(workspace, _evidence(workspace, work, case, commitment, entry, inclusion))


def _digests(workspace: Workspace, work: Work) -> dict[str, Any]:
    old = earlier(workspace, work, "prepare")["parent"]["digest"]
    if is_retired(workspace, work):
        return {"old": old, "new": None, "guarantee": None}
    new, compared = earlier(workspace, work, "register")["digest"], earlier(workspace, work, "compare")
    return {"old": old, "new": new, "guarantee": compared["guarantee"]}


def _evidence(workspace: Workspace, work: Work, case: str, commitment: str, entry: Entry, inclusion: Entry) -> Evidence:
    """Return what is attested: what every case has, and what became of the model."""
    with workspace.database.read() as connection:
        found = cases.get(connection, case)
        due = read_deadline(cases.detail(connection, case)["deadline"])
        allowed, above, below = approved(connection, case), above_of(connection, case), below_of(connection, case)
        marked = reviews.near_misses_of(connection, reviews.reviewed_as(connection, case))
        outcome = reviews.outcome_of(connection, case)
    parent, now = earlier(workspace, work, "prepare")["parent"], datetime.now(UTC).isoformat(timespec="seconds")
    common = Evidence(
        case=case,
        model=work.model,
        outcome=outcome,
        commitment=commitment,
        regime=due.rule,
        received_at=found.received_at.isoformat(),
        due_at=found.due_at.isoformat(),
        completed_at=now,
        issued_at=now,
        before=ModelVersion(work.model, parent["version"], parent["digest"]),
        lineage=lineage_of(workspace, parent["digest"]),
        approvals=allowed,
        purged=_purged(workspace, work),
        scan=earlier(workspace, work, "purge:scan")["reports"][case],
        suppression=SUPPRESSION,
        held=tuple(f"record {m.record_id} is kept: {m.mark}" for m in marked if m.mark in ("keep", "hold")),
        above=above,
        descendants=below,
        outside=_outside(workspace, work),
        entry=entry,
        inclusion=inclusion,
    )
    if is_retired(workspace, work):
        retired, history = retired_lines(workspace, work), history_of(workspace, parent["digest"])
        return replace(common, retired=retired, history=history)
    return _with_version(workspace, work, common, str(found.plan_digest))


def _with_version(workspace: Workspace, work: Work, common: Evidence, plan: str) -> Evidence:
    """Return the evidence with the version that took the other's place, how it was made, and what was read on it."""
    rebuilt, other = earlier(workspace, work, "rebuild"), earlier(workspace, work, "counterfactual")
    change, strangers = change_of(workspace, work), earlier(workspace, work, "measure").get("strangers", ())
    registered, parent = earlier(workspace, work, "register"), common.before.digest
    with workspace.database.read() as connection:
        verdict = decisions.get(connection, earlier(workspace, work, "judge")["decision"]).verdict
    guarantee = Guarantee(earlier(workspace, work, "compare")["guarantee"])
    is_proof = guarantee != Guarantee.APPROXIMATE  # two equal builds prove nothing where a teacher may still know them
    return replace(
        common,
        guarantee=guarantee,
        after=ModelVersion(work.model, registered["version"], registered["digest"]),
        method=method_of(workspace, rebuilt, parent, change.operation, plan),
        rebuilt_digest=str(rebuilt["digest"]),
        counterfactual_digest=str(other["digest"] or "") if is_proof else "",
        history=history_of(workspace, parent, registered["digest"]),
        readings_before=change.before,
        readings_after=change.after,
        explanations=explained(workspace, (*change.before, *change.after)),
        verdict=verdict,
        tried=tried_rungs(workspace, work),
        is_strange="control" in strangers,
        residual_risks=tuple(STRANGERS[name] for name in strangers),
    )


def approved(connection: Any, case: str) -> tuple[Approved, ...]:
    """Return who approved a case's plan as it stands."""
    return tuple(
        Approved(people.get(connection, a.person).name, str(a.role), a.at.isoformat(), a.plan_digest)
        for a in approvals.standing(connection, case)
        if a.decision == "approve"
    )


def explained(workspace: Workspace, read: Iterable[Reading]) -> dict[str, str]:
    """Return what each probe that was read measures."""
    names = sorted({reading.name.rpartition("/")[0] for reading in read})
    return {name: workspace.host.probe(name).summary for name in names}


def tried_rungs(workspace: Workspace, work: Work) -> tuple[Tried, ...]:
    """Return what was tried before and was not enough, with what was read on it."""
    with workspace.database.read() as connection:
        found = tried(connection, work.lead)
    return tuple(Tried(one["operation"], one["guarantee"], one["reason"], readings(one, "after")) for one in found)


def method_of(workspace: Workspace, rebuilt: Result, parent: str, operation: str, plan: str) -> Method:
    """Return how a rebuild was made, without the salts that place people."""
    plugin = workspace.host.source_of(operation)
    made = workspace.host.operation(operation).rebuilds or operation
    steps = [*_steps(workspace, parent), *rebuilt["recipe"]["steps"]]  # the parent's, where its step is left out
    step = next((step for step in reversed(steps) if step["operation"] == made), steps[-1] if steps else NO_STEP)
    public = {name: value for name, value in step["parameters"].items() if not name.endswith("_salt")}
    versions = {plugin.distribution: plugin.version}
    stack = dict(rebuilt["fingerprint"])
    stack |= stack.pop("libraries", {})
    return Method(operation, versions, step["seed"], public, stack, plan)


def _steps(workspace: Workspace, digest: str) -> list[Any]:
    """Return the steps of a version's recipe as the ledger keeps them, also when its files are gone."""
    with workspace.database.read() as connection:
        return list(lineage.by_digest(connection, digest)[0].recipe.get("steps", []))


def lineage_of(workspace: Workspace, digest: str) -> str:
    """Return `declared` where people stated any part of a version's origin, else `observed`."""
    with workspace.database.read() as connection:
        said = {edge.evidence for edge in lineage.parents(connection, digest)}
        said |= {use.evidence for use in lineage.data_of(connection, digest)}
    return "declared" if "declared" in said else "observed"


def _purged(workspace: Workspace, work: Work) -> tuple[Purged, ...]:
    gone = earlier(workspace, work, "purge:purge")
    listed = earlier(workspace, work, "purge:inventory")
    stores = (Purged(f"entries of the store {name}", count) for name, count in gone["stores"].items())
    return (
        Purged("data sets that held the person's records", gone["datasets"]),
        Purged("model versions", len(gone["versions"])),
        Purged("files of those versions in MLflow", listed["files"], listed["bytes"]),
        Purged("stored blobs: records, adapters, checkpoints, state", gone["blobs"]),
        Purged("copies on worker machines", sum(gone["nodes"].values())),
        *stores,
    )


def _outside(workspace: Workspace, work: Work) -> tuple[Outside, ...]:
    old = list(earlier(workspace, work, "prepare")["datasets"])
    found: list[Outside] = []
    with workspace.database.read() as connection:
        for digest in old:
            dataset = datasets.get(connection, digest)
            while dataset.source_digest is None and dataset.parent is not None:
                dataset = datasets.get(connection, dataset.parent)
            found.append(
                Outside(
                    "external file", f"the file that {dataset.name} was registered from", dataset.source_digest or ""
                )
            )
        for copy in copies.pending(connection):
            kind = "backup" if str(copy.kind) == "backup" else "external file"
            expires = copy.expires_at.isoformat() if copy.expires_at else ""
            found.append(Outside(kind, copy.id, copy.digest or "", expires))
        parent = earlier(workspace, work, "prepare")["parent"]["digest"]
        gone = {parent, *earlier(workspace, work, "purge:inventory")["trees"]}
        for told in inventory.recipients_of(connection, sorted(gone)):
            confirmed = told.told_at.isoformat() if told.told_at else ""
            found.append(Outside("recipient", told.what, told.where_digest, "", confirmed))
    return tuple(found)


def mirror(workspace: Workspace, work: Work, case: str, certificates: Path) -> str:
    """Write a case's readings, certificate and picture into its MLflow run, and return that run's page."""
    parent = earlier(workspace, work, "prepare")["parent"]
    change = Change("", ModelVersion(work.model, parent["version"], parent["digest"]), NOTHING)
    change = change if is_retired(workspace, work) else change_of(workspace, work)
    with workspace.cache.scratch("mirror") as target:
        for file in sorted(certificates.glob(f"{case}.*")):
            (target / file.name).write_bytes(file.read_bytes())
        (target / "readings.svg").write_text(readings_svg(change.before, change.after), encoding="utf-8")
        tags = {"amends.case": case, "amends.parent": change.parent.digest if change.parent else ""}
        run = workspace.registry.log_case(
            case, "erasure", before=change.before, after=change.after, artifacts=target, status="FINISHED",
            tags={**tags, "amends.candidate": change.candidate.digest},
            description=f"Erasure case `{case}` on `{work.model}`; `amends cases show {case}` has everything.",
        )  # fmt: skip
    return workspace.registry.page_of("erasure", run)
