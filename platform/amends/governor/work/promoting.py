"""Carry a promotion out: look at everything again, gather the evidence, let the policy judge, move the alias."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from amends.errors import Denied, DigestMismatch, Suppressed
from amends.governor.judging import approvals_for_policy, find_policy
from amends.governor.models.promoting import Promotion, check_mirror, promote
from amends.governor.models.provenance import descends_from_erased, living_data
from amends.governor.models.quarantine import refuse_quarantined, set_aside
from amends.governor.models.recipes import read_recipe
from amends.governor.models.signatures import is_signed
from amends.governor.models.verifying import verify_version
from amends.governor.work.incidents import incident_facts
from amends.governor.work.measuring import readings
from amends.governor.work.piece import Result, Work, earlier, plan_of, requester_of
from amends.governor.work.replacing import suppressed
from amends.governor.work.rereading import Evidence, maker_of, read_again, read_champion, recorded
from amends.governor.workspace import Workspace
from amends.ledger import aliases, cases, lineage
from amends.policy import Policy
from amends.records import Change, ModelVersion, Reading
from amends.scheduler.jobs import reading_to_json

if TYPE_CHECKING:
    from sqlalchemy import Connection

POLICY = "promotion"


def prepare(workspace: Workspace, work: Work) -> Result:
    """Make sure that the version may stand anywhere at all, and the alias where the plan saw it.

    Raises:
        Denied: It is quarantined, sealed or purged, was exchanged, comes from data that somebody was erased from since,
            or the alias moved.
        Suppressed: It would bring back an erased person.
        DigestMismatch: A file is not what it was; it is set aside, and the version quarantined.
    """
    plan, candidate = plan_of(workspace, work), _candidate(workspace, work)
    find_policy(workspace, POLICY)
    with workspace.database.read() as connection:
        version = lineage.get(connection, candidate.name, candidate.version)
        _check_alias(connection, work, plan)
        data = living_data(connection, candidate.digest)
    if version.status != "active":
        raise Denied(f"{candidate} is {version.status} and cannot be {plan['alias']['name']}; choose another version")
    refuse_quarantined(workspace, version)
    check_mirror(workspace, candidate, plan["alias"]["name"], plan["alias"]["from"])
    if not is_signed(workspace, candidate.digest):
        raise Denied(f"{candidate} is not signed by this workspace, or its signature was changed; register it again")
    if descends_from_erased(workspace, candidate.digest):
        raise Denied(
            f"{candidate} comes from data that somebody was erased from since; promote the version that was rebuilt"
        )
    hits = suppressed(workspace, {digest: {"train": digest} for digest in data})
    if hits:
        raise Suppressed(f"{hits} records behind {candidate} name a person who was erased; erase them there, too")
    try:
        return {"verified": verify_version(workspace, candidate)}
    except DigestMismatch:
        _set_aside(workspace, candidate, work.lead)
        raise


def _set_aside(workspace: Workspace, candidate: ModelVersion, case: str) -> None:
    with workspace.database.read() as connection:
        version = lineage.get(connection, candidate.name, candidate.version)
    set_aside(workspace, version, f"case {case} read other bytes than those that were signed", case)


def _check_alias(connection: Connection, work: Work, plan: Mapping[str, Any]) -> None:
    """Refuse a plan that saw the alias elsewhere; one that this case has moved already stands right."""
    name, saw = plan["alias"]["name"], plan["alias"]["from"]
    past = aliases.history(connection, work.model, name)
    here = aliases.current(connection, work.model, name)
    if here != saw and (not past or past[-1].case_id != work.lead):
        raise Denied(
            f"{work.model}@{name} stands for version {here}, not where the plan of case {work.lead} saw it; "
            f"run `amends cases replan {work.lead}` and have the new plan approved"
        )


def _candidate(workspace: Workspace, work: Work) -> ModelVersion:
    made = plan_of(workspace, work)["candidate"]
    return ModelVersion(work.model, int(made["version"]), str(made["digest"]))


def measure(workspace: Workspace, work: Work) -> Result:
    """Gather what was read on the candidate and on what the alias stands for, and read what is old or absent."""
    policy, candidate = find_policy(workspace, POLICY), _candidate(workspace, work)
    found = recorded(workspace, candidate)
    is_again = _is_stale(found, policy) or not _read_by(policy, "readings") <= found.probes
    if is_again:
        found = read_again(workspace, work, candidate, policy.probes, found)
    sides = {"before": found.before, "after": found.after, "champion": _champion(workspace, work, policy)}
    return {
        **{side: [reading_to_json(reading) for reading in some] for side, some in sides.items()},
        "at": None if found.at is None else found.at.isoformat(),
        "is_allowed": found.is_allowed,
        "is_again": is_again,
    }


def _is_stale(found: Evidence, policy: Policy) -> bool:
    return found.at is None or (datetime.now(UTC) - found.at).days > policy.evidence_days


def _read_by(policy: Policy, side: str) -> set[str]:
    """Return the probes that rules read on a side."""
    read = {r.name for rule in policy.rules for r in rule.references.readings if r.side == side}
    read |= set(policy.required) if side == "readings" else set()
    return {name.rpartition("/")[0] for name in read}


def _champion(workspace: Workspace, work: Work, policy: Policy) -> tuple[Reading, ...]:
    number = plan_of(workspace, work)["alias"]["from"]
    if number is None:
        return ()
    with workspace.database.read() as connection:
        version = lineage.get(connection, work.model, int(number))
    found = recorded(workspace, version.name)
    lacking = _read_by(policy, "champion") - (set() if _is_stale(found, policy) else found.probes)
    if not lacking or version.status == "purged":
        return found.after
    probes = {name: settings for name, settings in policy.probes.items() if name in lacking}
    fresh = read_champion(workspace, work, version.digest, probes)
    names = {reading.name for reading in fresh}
    return (*(reading for reading in found.after if reading.name not in names), *fresh)


def promote_version(workspace: Workspace, work: Work) -> Result:
    """Let the policy judge, and move the alias where it allows.

    Raises:
        Denied: A rule or a reviewer says no, or somebody moved the alias.
    """
    plan, candidate = plan_of(workspace, work), _candidate(workspace, work)
    measured, alias = earlier(workspace, work, "measure"), plan["alias"]
    promotion = Promotion(
        change=_change(workspace, candidate, measured), alias=alias["name"], expected=alias["from"], case=work.lead,
        facts=_facts(workspace, work, measured), approvals=tuple(approvals_for_policy(workspace, work.cases)),
        attempt=work.attempt, champion=readings(measured, "champion"),
    )  # fmt: skip
    verdict = promote(workspace, promotion, requester_of(workspace, work))
    workspace.registry.log_case(
        work.lead, POLICY, before=promotion.change.before, after=promotion.change.after,
        tags={"amends.case": work.lead, "amends.candidate": candidate.digest}, status="FINISHED",
        description=f"Case `{work.lead}` on `{work.model}`; `amends cases show {work.lead}` has everything.",
    )  # fmt: skip
    return {"alias": alias["name"], "version": candidate.version, "policy": verdict.policy_digest}


def _change(workspace: Workspace, candidate: ModelVersion, measured: Result) -> Change:
    """Return what is judged: the candidate beside the version that the case which made it began from."""
    steps = read_recipe(workspace, candidate.digest).get("steps") or [{"operation": "import"}]
    with workspace.database.read() as connection:
        maker = maker_of(connection, candidate)
        began = ((maker.plan if maker else None) or {}).get("parent")
    parent = None if began is None else ModelVersion(candidate.name, int(began["version"]), str(began["digest"]))
    before, after = readings(measured, "before"), readings(measured, "after")
    return Change(str(steps[-1]["operation"]), parent, candidate, before, after)


def _facts(workspace: Workspace, work: Work, measured: Result) -> dict[str, Any]:
    """Return what this case knows; `prepare` looked for people who were erased, and found none."""
    candidate, known = _candidate(workspace, work), dict[str, Any]()
    with workspace.database.read() as connection:
        lead = cases.get(connection, work.lead)
        guarantee = lineage.get(connection, candidate.name, candidate.version).guarantee
    if guarantee is not None:
        known["guarantee"] = str(guarantee)
    if measured["at"] is not None:
        known["evidence_age_days"] = (datetime.now(UTC) - datetime.fromisoformat(measured["at"])).days
    return {
        **known,
        "digests_verified": bool(earlier(workspace, work, "prepare")["verified"]),
        "evidence_allowed": bool(measured["is_allowed"]),
        **{"plan_digest": str(lead.plan_digest), "requested": True, "requester": lead.requester},
        **{"suppression_checked": True, "suppression_hits": 0},
        **incident_facts(workspace, work, candidate),
    }
