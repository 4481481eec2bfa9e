"""Register the candidate, with the data sets that lack the subject, and move the champion to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from amends.governor.data.rows import rows_of, text_of
from amends.governor.judging import approvals_for_policy
from amends.governor.models.promoting import CHAMPION, Promotion, promote
from amends.governor.models.verifying import verify_version
from amends.governor.models.versions import Entry, enter
from amends.governor.work.incidents import incident_facts
from amends.governor.work.measuring import change_of, facts_of
from amends.governor.work.piece import Result, Work, age_days, earlier, requester_of
from amends.governor.work.preparing import never_trained
from amends.governor.workspace import Workspace
from amends.ledger import cases, datasets, lineage, suppression
from amends.ledger.actions import Action
from amends.ledger.datasets import Membership
from amends.ledger.lineage import DataUse, Edge
from amends.records import Guarantee, ModelVersion
from amends.vault import subjects

if TYPE_CHECKING:
    from sqlalchemy import Connection


def register(workspace: Workspace, work: Work) -> Result:
    """Enter the rewritten data sets and the candidate; both stand beside the old ones until the purge."""
    prepared, rebuilt = earlier(workspace, work, "prepare"), earlier(workspace, work, "rebuild")
    compared = earlier(workspace, work, "compare")
    gone = emptied(workspace, prepared["datasets"], rebuilt["recipe"])
    for blobs in prepared["datasets"].values():
        if blobs["from"] == blobs["train"]:
            _withhold_fewer(workspace, work, blobs["from"], blobs["control"])
        elif blobs["train"] not in gone:
            _enter_dataset(workspace, work, blobs["from"], blobs)
    if never_trained(prepared):
        return {"version": prepared["parent"]["version"], "digest": prepared["parent"]["digest"]}
    parent = prepared["parent"]["digest"]
    digest = str(rebuilt["digest"])
    with workspace.database.read() as connection:
        old = [*prepared["datasets"], *prepared["purged"]]
        edges = made_from(connection, parent, digest, work, old, prepared.get("models", {}))
        uses = data_uses(connection, parent, digest, rebuilt["recipe"], prepared["datasets"], gone)
    entry = Entry(
        key=f"{work.lead}-candidate-{digest[:12]}",
        model=work.model,
        digest=digest,
        recipe=rebuilt["recipe"],
        parents=(*edges, Edge(digest, parent, "rebuilt-from", "observed", _operation(workspace, work), work.lead)),
        data=uses,
        state=rebuilt["state"],
        lineage=str(rebuilt["lineage"]),
        guarantee=Guarantee(compared["guarantee"]),
        case=work.lead,
        tags={
            "amends.case": work.lead,
            "amends.guarantee": str(compared["guarantee"]),
            "amends.decision": str(earlier(workspace, work, "judge")["decision"]),
        },
    )
    version = enter(workspace, entry, Action.MODEL_REGISTERED, requester_of(workspace, work))
    return {"version": version.version, "digest": version.digest}


def emptied(workspace: Workspace, rewritten: Mapping[str, Mapping[str, str]], recipe: Mapping[str, Any]) -> set[str]:
    """Return the rewritten data sets of which nothing is left, and that no step of the recipe names."""
    empty = {
        blobs["train"]
        for blobs in rewritten.values()
        if not any(workspace.blobs.get(blobs[part]) for part in ("train", "control"))
    }
    return empty - {digest for step in recipe["steps"] for digest in step["records"].values()}


def data_uses(
    connection: Connection,
    parent: str,
    digest: str,
    recipe: Mapping[str, Any],
    rewritten: Mapping[str, Mapping[str, str]],
    gone: set[str],
) -> tuple[DataUse, ...]:
    """Return which data sets went into a rebuilt version: its parent's, as they are now, and its recipe's.

    Its parent may have got some of them through a version that is about to go.
    """
    renamed = {old: blobs["train"] for old, blobs in rewritten.items()}
    uses = [DataUse(digest, renamed.get(u.dataset, u.dataset), u.role, u.evidence)
            for u in lineage.data_of(connection, parent)]  # fmt: skip
    kept = [use for use in uses if use.dataset not in gone]
    learnt = {name for step in recipe["steps"] for name in step["records"].values()}
    fresh = learnt - renamed.keys() - {use.dataset for use in kept}
    return (*kept, *(DataUse(digest, name, "train") for name in sorted(fresh)))


def made_from(
    connection: Connection,
    parent: str,
    digest: str,
    work: Work,
    old: list[str],
    replaced: Mapping[str, str] = MappingProxyType({}),
) -> list[Edge]:
    """Return where a rebuilt version comes from: what its parent came from, and not from what held the subject.

    What took the place of a version that held them stands for it, and for all that it came from.
    """
    tainted = {version.digest for version in lineage.tainted_by(connection, old)}
    found, here, seen = [], [parent], set()
    while here:
        place = here.pop()
        seen.add(place)
        for edge in lineage.parents(connection, place):
            if edge.kind == "rebuilt-from" or edge.parent in seen:
                continue
            if (heir := replaced.get(edge.parent, digest)) != digest:
                found.append(Edge(digest, heir, edge.kind, edge.evidence, edge.operation, work.lead))
            elif edge.parent in tainted or edge.parent == digest:
                here.append(edge.parent)
            else:
                found.append(Edge(digest, edge.parent, edge.kind, edge.evidence, edge.operation, work.lead))
    return found


def _operation(workspace: Workspace, work: Work) -> str:
    return change_of(workspace, work).operation


def _enter_dataset(workspace: Workspace, work: Work, old: str, blobs: Mapping[str, str]) -> None:
    rows = list(rows_of(workspace, blobs["train"]))
    counts: dict[str, int] = {}
    for row in rows:
        for pseudonym in row["subjects"]:
            counts[pseudonym] = counts.get(pseudonym, 0) + 1
    with workspace.database.transaction() as connection:
        before = datasets.get(connection, old)
        gone = {cases.get(connection, case).subject.pseudonym for case in work.cases}
        withheld = {m.pseudonym for m in datasets.subjects_of(connection, old) if m.is_control} - gone
        members = [
            *(Membership(who, n, False) for who, n in sorted(counts.items()) if who not in gone),
            *(Membership(who, 0, True) for who in sorted(withheld - set(counts))),
        ]
        after = replace(
            before,
            digest=blobs["train"],
            parent=old,
            records=len(rows),
            subjects=len(members),
            controls=len(withheld),
            settings={**before.settings, "control": blobs["control"]},
            source_digest=None,
            raw_digest=None,
            status="active",
        )
        known = datasets.register(connection, after, members)
        if known.status != "active":  # a case that was cancelled wrote it, too
            datasets.set_status(connection, after.digest, "active")
        if known.parent != old:  # it was here before, without the person
            datasets.set_parent(connection, after.digest, old)
        body = {"old": old, "new": blobs["train"], "records": len(rows)}
        actor = cases.get(connection, work.lead).requester
        key = f"{work.lead}:data:{old[:16]}:{after.digest[:16]}"
        workspace.record(connection, key, Action.DATA_SUPERSEDED, body, actor)


def _withhold_fewer(workspace: Workspace, work: Work, digest: str, control: str) -> None:
    """Give a data set its withheld records without the subject's; what is trained on stays the same."""
    with workspace.database.transaction() as connection:
        gone = {cases.get(connection, case).subject.pseudonym for case in work.cases}
        left = [m for m in datasets.subjects_of(connection, digest) if m.pseudonym not in gone]
        withheld = sum(member.is_control for member in left)
        datasets.set_control(connection, digest, control, subjects=len(left), controls=withheld)
        actor = cases.get(connection, work.lead).requester
        key, body = f"{work.lead}:withheld:{control[:16]}", {"dataset": digest, "control": control}
        workspace.record(connection, key, Action.DATA_SUPERSEDED, body, actor)


def promote_candidate(workspace: Workspace, work: Work) -> Result:
    """Move the champion to the candidate, as `promotion.yaml` allows.

    Raises:
        Denied: A rule or a reviewer says no, or somebody else moved the champion.
    """
    registered, prepared = earlier(workspace, work, "register"), earlier(workspace, work, "prepare")
    if never_trained(prepared):
        _supersede(workspace, prepared)
        return {"alias": CHAMPION, "version": registered["version"], "policy": ""}
    candidate = ModelVersion(work.model, registered["version"], registered["digest"])
    facts = {
        **facts_of(workspace, work),
        "evidence_allowed": bool(earlier(workspace, work, "judge")["decision"]),
        "evidence_age_days": age_days(workspace, work, "measure"),
        "digests_verified": verify_version(workspace, candidate),
        "suppression_checked": True,
        "suppression_hits": suppressed(workspace, prepared["datasets"]),
        **incident_facts(workspace, work, candidate, prepared["datasets"]),
    }
    promotion = Promotion(
        change=change_of(workspace, work, candidate),
        alias=CHAMPION,
        expected=prepared["parent"]["version"],
        case=work.lead,
        attempt=work.attempt,
        facts=facts,
        approvals=tuple(approvals_for_policy(workspace, work.cases)),
    )
    verdict = promote(workspace, promotion, requester_of(workspace, work))
    _supersede(workspace, prepared)
    with workspace.database.transaction() as connection:
        lineage.set_status(connection, work.model, prepared["parent"]["version"], "sealed")
    return {"alias": CHAMPION, "version": candidate.version, "policy": verdict.policy_digest}


def _supersede(workspace: Workspace, prepared: Result) -> None:
    """Let the rewritten data sets stand for the old ones, now that the champion learnt from them."""
    with workspace.database.transaction() as connection:
        for old, blobs in prepared["datasets"].items():
            for digest in {old, blobs["from"]} - {blobs["train"]}:
                datasets.set_status(connection, digest, "superseded")


def suppressed(workspace: Workspace, rewritten: Mapping[str, Mapping[str, str]]) -> int:
    """Return how many records of data sets name somebody on the suppression list."""
    hits = 0
    for blobs in rewritten.values():
        for row in rows_of(workspace, blobs["train"]):
            macs = subjects.text_macs(workspace.keyring, "suppression", text_of(row))
            with workspace.database.read() as connection:
                hits += bool(suppression.hits(connection, sorted(macs)))
    return hits
