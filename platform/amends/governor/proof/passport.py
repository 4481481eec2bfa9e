"""The passport of a model version: what lineage, cases, decisions and readings know of it, and what nobody recorded.

No personal data: staff by their ids and roles, data by names and digests, people not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from amends.governor.models.anatomy import anatomy_of
from amends.governor.models.licences import licences_of, summary
from amends.governor.models.quarantine import quarantines
from amends.governor.proof.inventories import answered
from amends.governor.proof.limits import known_limits
from amends.governor.proof.origins import origins_of
from amends.governor.workspace import Workspace
from amends.ledger import aliases, approvals, audit, cases, decisions, inventory, journal
from amends.ledger.decisions import Decision

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from amends.ledger.lineage import Version

SCHEMA = 1
_NUMBERS = ("value", "low", "high", "n", "power")


def passport_of(workspace: Workspace, reference: str) -> dict[str, Any]:
    """Return the passport of `model@version` as plain JSON.

    Raises:
        UnknownModel: There is no such model, version or alias.
    """
    with workspace.database.read() as connection:
        version = aliases.resolve(connection, reference)
        own = _version(connection, version)
        known = _of_its_case(connection, version)
    own["quarantines"] = [
        {name: one[name] for name in ("to", "at", "by")}
        for one in quarantines(workspace, version.model, version.number)
    ]  # not the reasons, which staff wrote for staff
    passport: dict[str, Any] = {
        "schema": SCHEMA,
        "reference": str(version.name),
        "issued_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": own,
        "anatomy": None if version.status == "purged" else anatomy_of(workspace, version.digest),
        "licences": summary(licences_of(workspace, version.digest, str(version.name))),
        **origins_of(workspace, version),
        **known,
        "explanations": _explanations(workspace, known["readings"]),
    }
    questions = answered(passport)
    limits = known_limits(passport)
    open_items = [f"{row['regime']}, {row['item']}: {row['question']}" for row in questions if row["source"] == "open"]
    return {**passport, "limits": limits, "questions": questions, "open": open_items}


def _version(connection: Connection, version: Version) -> dict[str, Any]:
    names = aliases.aliases_of(connection, version.model)
    moves = [asdict(move) for name in names for move in aliases.history(connection, version.model, name)]
    mine = [move for move in moves if move["new_number"] == version.number]
    return {
        **{"model": version.model, "number": version.number, "digest": version.digest},
        "status": str(version.status),
        "guarantee": None if version.guarantee is None else str(version.guarantee),
        "case": version.case_id,
        "registered_at": _iso(version.registered_at),
        "aliases": sorted(name for name, number in names.items() if number == version.number),
        "moves": [{**move, "at": _iso(move["at"])} for move in mine],
        "recipients": len(inventory.recipients_of(connection, [version.digest])),
        "state_blobs": len(inventory.state_of(connection, version.digest)),
        "audit_entries": audit.head(connection)[0],
    }


def _of_its_case(connection: Connection, version: Version) -> dict[str, Any]:
    """Return what was decided, read and approved in the case that made a version; empty where none did."""
    if version.case_id is None:
        return {"case": None, "decisions": [], "readings": {"before": [], "after": [], "decision": None},
                "approvals": [], "seconds": None}  # fmt: skip
    case, beside = cases.get(connection, version.case_id), cases.detail(connection, version.case_id)
    found = decisions.find(connection, version.case_id)
    members = dict.fromkeys([version.case_id, *beside.get("batch", [])])
    spent = [step.get("step_seconds") for step in journal.steps_of(connection, version.case_id).values()]
    return {
        "case": {
            **{"id": case.id, "kind": case.kind, "status": str(case.status), "outcome": case.outcome},
            **{"requester": case.requester, "plan_digest": case.plan_digest, "regime": case.regime},
        },
        "decisions": [_decision(one) for one in found],
        "readings": _readings(found),
        "approvals": [row for member in members for row in _approvals(connection, member)],
        "seconds": sum(seconds for seconds in spent if seconds is not None) if any(spent) else None,
    }


def _decision(found: Decision) -> dict[str, Any]:
    return {
        **{"id": found.id, "at": _iso(found.at), "policy": found.policy, "policy_digest": found.policy_digest},
        "allowed": found.verdict.allowed,
        "objections": len(found.verdict.objections),
        "answers": [
            {name: getattr(answer, name) for name in ("rule", "severity", "passed", "message", "expression")}
            for answer in found.verdict.answers
        ],
    }


def _readings(found: Sequence[Decision]) -> dict[str, Any]:
    """Return what the last decision that allowed something saw; its inputs stand in the ledger, and can be replayed."""
    seen = [one for one in found if one.verdict.allowed and one.inputs.get("after")]
    judged = [one for one in seen if one.policy != "promotion"] or seen
    if not judged:
        return {"before": [], "after": [], "decision": None}
    inputs = judged[-1].inputs
    told = {when: [_reading(reading) for reading in inputs[when]] for when in ("before", "after")}
    return {**told, "decision": judged[-1].id}


def _reading(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recorded reading; what was no finite number is none, and never looks like one."""
    numbers = {name: recorded[name] if isinstance(recorded[name], int | float) else None for name in _NUMBERS}
    count = numbers["n"]
    whole = {} if count is None else {"n": int(count)}
    return {"name": recorded["name"], "unit": recorded["unit"], "detail": {}, **numbers, **whole}


def _approvals(connection: Connection, case: str) -> Iterator[dict[str, Any]]:
    for given in approvals.standing(connection, case):
        yield {
            **{"case": case, "person": given.person, "role": str(given.role), "decision": given.decision},
            **{"at": _iso(given.at), "plan_digest": given.plan_digest},
        }


def _explanations(workspace: Workspace, read: Mapping[str, Any]) -> dict[str, str]:
    """Return what each probe measures, where its plugin is still installed."""
    names = {reading["name"].rpartition("/")[0] for when in ("before", "after") for reading in read[when]}
    return {name: workspace.host.probes[name].summary for name in sorted(names) if name in workspace.host.probes}


def _iso(when: datetime | None) -> str | None:
    return None if when is None else when.isoformat(timespec="seconds")
