"""The evidence on a version: what the case that made it read, and what is read again where that is old or absent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from amends.errors import UnknownCase
from amends.governor.judging import decide, find_policy
from amends.governor.work.measuring import readings
from amends.governor.work.piece import Work, operation_of, probed, stopper, wait
from amends.governor.work.running import measure as submit
from amends.governor.workspace import Workspace
from amends.ledger import cases, datasets, decisions, journal, lineage
from amends.policy.evidence import reading_from_record
from amends.records import Case, Change, ModelVersion, Reading, Records

if TYPE_CHECKING:
    from sqlalchemy import Connection

NO_EVIDENCE = ("promotion", "finding")
"""Policies whose decisions say nothing of what a version is worth."""

Settings = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Evidence:
    """What was read on a version and on its parent, when, and whether the policy that judged it allowed it."""

    before: tuple[Reading, ...] = ()
    after: tuple[Reading, ...] = ()
    at: datetime | None = None
    is_allowed: bool = False

    @property
    def probes(self) -> set[str]:
        """The probes that gave something on the version."""
        return {reading.name.rpartition("/")[0] for reading in self.after}


def recorded(workspace: Workspace, version: ModelVersion) -> Evidence:
    """Return what the case that made a version left: its last decision, or what a training measured."""
    with workspace.database.read() as connection:
        maker = maker_of(connection, version)
        if maker is None:
            return Evidence()
        lead = str(cases.detail(connection, maker.id).get("lead", maker.id))
        judged = [found for found in decisions.find(connection, lead) if found.policy not in NO_EVIDENCE]
        measured, at = journal.step_result(connection, lead, "measure"), journal.step_at(connection, lead, "measure")
    if judged:
        last = judged[-1]
        before, after = (tuple(map(reading_from_record, last.inputs[side])) for side in ("before", "after"))
        return Evidence(before, after, last.at, last.verdict.allowed)
    if measured is None:
        return Evidence()
    after = readings(measured, "after")
    return Evidence(readings(measured, "before"), after, at, maker.kind == "training" and are_finite(after))


def are_finite(found: tuple[Reading, ...]) -> bool:
    """Whether something was read, and all of it is a number: where no policy judged, that much is asked."""
    return bool(found) and all(math.isfinite(reading.value) for reading in found)


def maker_of(connection: Connection, version: ModelVersion) -> Case | None:
    """Return the case that made a version, or None where it was imported."""
    found = lineage.get(connection, version.name, version.version).case_id
    try:
        return None if found is None else cases.get(connection, found)
    except UnknownCase:
        return None


def plan_to_repeat(workspace: Workspace, version: ModelVersion) -> tuple[Case, Mapping[str, Any]] | None:
    """Return the case and plan of a change whose probes can be read again: its data are there, and nobody left them."""
    with workspace.database.read() as connection:
        maker = maker_of(connection, version)
        plan = None if maker is None else maker.plan
        if maker is None or plan is None or plan.get("kind") != "change" or "dropped" in plan:
            return None
        held = {found.digest: found.status for found in datasets.find(connection)}
    return (maker, plan) if all(held.get(name) == "active" for name in probed(plan).values()) else None


def read_again(workspace: Workspace, work: Work, candidate: ModelVersion, probes: Settings, old: Evidence) -> Evidence:
    """Read a version's probes anew: those of the change that made it, judged again, and those of the promotion.

    Where what made it cannot be repeated, what was recorded stays beside what is read now, and keeps its age.
    """
    repeated = plan_to_repeat(workspace, candidate)
    if repeated is None:
        fresh = _read(workspace, work, "measure", candidate.digest, None, readable(workspace, probes, ()), {})
        names = {reading.name for reading in fresh.after}
        kept = tuple(reading for reading in old.after if reading.name not in names)
        if old.at is not None:
            return Evidence(old.before, (*kept, *fresh.after), old.at, old.is_allowed)
        return Evidence((), fresh.after, fresh.at, are_finite(fresh.after))
    maker, plan = repeated
    records, parent = probed(plan), _parent(workspace, plan)
    wanted = {**readable(workspace, probes, records), **find_policy(workspace, plan["policy"]).probes}
    models = _beside(workspace, plan)
    taught = next(iter(models.values()), "") if plan.get("makes_model") else ""
    fresh = _read(workspace, work, "measure", candidate.digest, parent, wanted, records, taught, models)
    return Evidence(fresh.before, fresh.after, fresh.at, _judged(workspace, work, maker, plan, candidate, fresh))


def read_champion(workspace: Workspace, work: Work, digest: str, probes: Settings) -> tuple[Reading, ...]:
    """Read on the version that the alias stands for what a rule compares with and nobody recorded."""
    return _read(workspace, work, "champion", digest, None, readable(workspace, probes, ()), {}).after


def readable(workspace: Workspace, probes: Settings, records: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    """Return those probes that can be read with these records; what is not read is missing, and denies."""
    given = set(records)
    needs = {
        name: {p.name for p in workspace.host.probe(name).parameters if p.kind is Records and p.is_required}
        for name in probes
    }
    return {name: settings for name, settings in probes.items() if needs[name] <= given}


def _parent(workspace: Workspace, plan: Mapping[str, Any]) -> str | None:
    """Return the tree of what a change began from, while it is there; a new model began from none."""
    if plan["parent"] is None:
        return None
    with workspace.database.read() as connection:
        found = lineage.get(connection, plan["model"], int(plan["parent"]["version"]))
    return None if found.status == "purged" else found.digest


def _beside(workspace: Workspace, plan: Mapping[str, Any]) -> dict[str, str]:
    """Return the trees of the versions that a change was given beside its source, those that are there, by name."""
    found = {}
    for name, planned in plan.get("models", {}).items():
        with workspace.database.read() as connection:
            version = lineage.get(connection, planned["model"], int(planned["version"]))
        if version.status != "purged":
            found[name] = version.digest
    return found


def _read(
    workspace: Workspace, work: Work, what: str, tree: str, parent: str | None, probes: Settings,
    records: Mapping[str, str], beside: str = "", models: Mapping[str, str] | None = None,
) -> Evidence:  # fmt: skip
    if not probes:
        return Evidence()
    handle = submit(
        workspace, f"{work.lead}-{what}-{work.attempt}", probes, model=tree, before=parent,
        reference=beside or parent, records=records, models=models, seed=int(work.lead[2:10], 16),
    )  # fmt: skip
    result = wait(handle, stopper(workspace, work))
    return Evidence(tuple(result.before), tuple(result.readings), datetime.now(UTC))


def _judged(
    workspace: Workspace, work: Work, maker: Case, plan: Mapping[str, Any], candidate: ModelVersion, fresh: Evidence
) -> bool:
    """Let the policy of the change judge again, with the approvals that counted when it judged first."""
    began = plan["parent"]
    parent = None if began is None else ModelVersion(plan["model"], int(began["version"]), began["digest"])
    with workspace.database.read() as connection:
        made = journal.step_result(connection, maker.id, "apply") or {}
        judged = [found for found in decisions.find(connection, maker.id) if found.policy == plan["policy"]]
    change = Change(operation_of(plan, made), parent, candidate, fresh.before, fresh.after)
    facts = {
        **plan.get("facts", {}), "plan_digest": str(maker.plan_digest), "requester": maker.requester,
        "suppression_checked": True, "suppression_hits": 0,
    }  # fmt: skip
    decision = f"{work.lead}-{plan['policy']}-{work.attempt}"
    approved = judged[-1].inputs["approvals"] if judged else ()
    return decide(workspace, plan["policy"], decision, work.lead, change, facts, approved).allowed
