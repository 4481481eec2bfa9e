"""Read the probes of the erasure policy on parent and candidate, and let the policy judge."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from amends.errors import Denied
from amends.governor.data.rows import blobs_of
from amends.governor.judging import approvals_for_policy, decide, find_policy
from amends.governor.models.recipes import base_of, read_recipe
from amends.governor.work.climbing import ladder_of, rung_mark, rung_of
from amends.governor.work.piece import Result, Work, earlier, stopper, wait
from amends.governor.work.running import measure as submit
from amends.governor.workspace import Workspace
from amends.ledger import cases, datasets
from amends.records import Change, Guarantee, ModelVersion, Reading
from amends.scheduler.jobs import reading_from_json, reading_to_json


def measure(workspace: Workspace, work: Work) -> Result:
    """Read every probe that the policy wants on the parent and on the candidate."""
    prepared, rebuilt = earlier(workspace, work, "prepare"), earlier(workspace, work, "rebuild")
    probes = _wanted(workspace, work)
    if not probes:
        return {"before": [], "after": []}
    records = {"forget": prepared["forget"], **_beside(workspace, prepared)}
    strangers = sorted(name for name, blob in records.items() if blob == prepared["strangers"])
    base = base_of(workspace, prepared["parent"]["digest"])
    handle = submit(
        workspace,
        f"{work.lead}-measure{rung_mark(rung_of(workspace, work))}",
        probes,
        model=str(rebuilt["digest"]),
        before=prepared["parent"]["digest"],
        reference=base,
        records=records,
        seed=int(work.lead[2:10], 16),
    )
    result = wait(handle, stopper(workspace, work))
    found = {"before": result.before, "after": result.readings}
    readings = {when: [reading_to_json(reading) for reading in some] for when, some in found.items()}
    return {**readings, "strangers": strangers}


def _wanted(workspace: Workspace, work: Work) -> Mapping[str, Mapping[str, Any]]:
    """Return the probes to read, with their settings; the audit's, too, where readings decide.

    What asks how many operations may be tried is told, for any of them may pass: its intervals are the wider for it.
    """
    policy = find_policy(workspace, "erasure")
    if earlier(workspace, work, "compare")["guarantee"] != Guarantee.APPROXIMATE:
        return policy.probes
    rungs = len(ladder_of(workspace, work))
    asking = {
        name for name in policy.audit if "rungs" in {known.name for known in workspace.host.probe(name).parameters}
    }
    told = {name: {"rungs": rungs} if name in asking else {} for name in policy.audit}
    return {**policy.probes, **{name: {**told[name], **settings} for name, settings in policy.audit.items()}}


def _beside(workspace: Workspace, prepared: Result) -> dict[str, str]:
    """Return who is asked beside those who go: the kept and the withheld of the first data set that has any.

    A data set that nobody was withheld from, as of edits, or that nothing is left of, lets the champion's others speak;
    where those have nobody either, strangers do.
    """
    steps = read_recipe(workspace, prepared["parent"]["digest"])["steps"]
    learnt = [digest for step in steps for digest in step["records"].values()]
    trained = [digest for digest in learnt if digest not in prepared["datasets"]]
    with workspace.database.read() as connection:
        known = {found.digest: found for found in datasets.find(connection) if found.status != "purged"}
    others = [dict(zip(("train", "control"), blobs_of(known[d]), strict=True)) for d in trained if d in known]
    own = sorted(prepared["datasets"].items(), key=lambda one: one[0] not in learnt)  # incidents are not to be kept
    candidates = [*(blobs for _, blobs in own), *others]
    chosen = {}
    for name, part in (("retain", "train"), ("control", "control")):
        filled = (blobs[part] for blobs in candidates if workspace.blobs.get(blobs[part]))
        if candidates:
            chosen[name] = next(filled, prepared["strangers"] or candidates[0][part])
    return chosen


def readings(result: Result, when: str) -> tuple[Reading, ...]:
    """Return what `measure` read `before` or `after`."""
    return tuple(reading_from_json(value) for value in result[when])


def judge(workspace: Workspace, work: Work) -> Result:
    """Let the erasure policy judge.

    Raises:
        Denied: It does not allow the candidate; the champion stays.
    """
    change = change_of(workspace, work)
    facts = {**facts_of(workspace, work), "received_late": _late(workspace, work)}
    decision = f"{work.lead}-erasure-{work.attempt}"
    verdict = decide(
        workspace, "erasure", decision, work.lead, change, facts, approvals_for_policy(workspace, work.cases)
    )
    if not verdict.allowed:
        raise Denied(f"the erasure policy denies: {'; '.join(verdict.reasons())}")
    return {"decision": decision, "policy": verdict.policy_digest, "guarantee": facts["guarantee"]}


def change_of(workspace: Workspace, work: Work, candidate: ModelVersion | None = None) -> Change:
    """Return what is judged: the parent, the candidate, and what the probes read on both."""
    prepared, measured = earlier(workspace, work, "prepare"), earlier(workspace, work, "measure")
    parent = ModelVersion(work.model, prepared["parent"]["version"], prepared["parent"]["digest"])
    rebuilt = earlier(workspace, work, "rebuild")
    digest = str(rebuilt["digest"])
    return Change(
        operation=str(rebuilt["operation"]),
        parent=parent,
        candidate=candidate or ModelVersion(work.model, 0, digest),
        before=readings(measured, "before"),
        after=readings(measured, "after"),
    )


def facts_of(workspace: Workspace, work: Work) -> Mapping[str, Any]:
    """Return what the governor knows of an erasure, by the names that policies may read."""
    compared = earlier(workspace, work, "compare")
    with workspace.database.read() as connection:
        lead = cases.get(connection, work.lead)
    return {
        "digests_equal": bool(compared["digests_equal"]),
        "guarantee": str(compared["guarantee"]),
        "recomputed": compared["guarantee"] != Guarantee.APPROXIMATE,
        "plan_digest": str(lead.plan_digest),
        "requester": lead.requester,
    }


def _late(workspace: Workspace, work: Work) -> bool:
    """Whether the due date of any of these cases has passed."""
    with workspace.database.read() as connection:
        return any(datetime.now(UTC) > cases.get(connection, case).due_at for case in work.cases)
