"""Cases to read: a list by due date, and everything about one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amends.errors import BadInput
from amends.governor import listing
from amends.governor.data.rows import blobs_of, rows_of, text_of
from amends.governor.judging import find_policy
from amends.governor.subjects.disclosing import open_reason
from amends.governor.work import families
from amends.governor.work.searching import outcomes
from amends.governor.workspace import Workspace
from amends.ledger import approvals, cases, datasets, journal, people, reviews
from amends.records import Case, CaseStatus

if TYPE_CHECKING:
    from sqlalchemy import Connection

ENDED = frozenset({"complete", "negative finding", "refused", "denied", "cancelled"})
HURRY = 0.25


def case_list(
    workspace: Workspace, *, mine: bool = False, status: str = "", model: str = "", limit: int = 100
) -> list[dict[str, Any]]:
    """Return cases by due date, with the days that are left.

    Args:
        workspace: Whose cases.
        mine: Only those that the person who acts asked for or decided on.
        status: Only those that stand there.
        model: Only those about this model.
        limit: At most so many; 0 for all.

    Raises:
        BadInput: There is no such status.
    """
    if status and status not in list(CaseStatus):
        raise BadInput(f"there is no status {status!r}; there are {', '.join(CaseStatus)}")
    person = workspace.actor.id if mine else None
    with workspace.database.read() as connection:
        found = cases.find(
            connection, mine=person, status=CaseStatus(status) if status else None, model=model or None,
            limit=limit or None,
        )  # fmt: skip
        names = {known.id: known.name for known in people.everyone(connection, removed=True)}
        waiting = {
            case.id: approvals.missing(connection, case.id)
            for case in found
            if case.status == CaseStatus.AWAITING_APPROVAL
        }
        before = {case.id: families.waits_for(connection, case) for case in found}
    return [
        {**brief(case, names), "missing_approvals": waiting.get(case.id, 0), "waits_for": before[case.id]}
        for case in found
    ]


def brief(case: Case, names: Mapping[str, str]) -> dict[str, Any]:
    """Return a case in one line; `urgency` is `late`, `soon` (a quarter of the time is left) or empty."""
    now, is_open = datetime.now(UTC), case.status not in ENDED and bool(case.regime)
    left, whole = (case.due_at - now).total_seconds(), (case.due_at - case.received_at).total_seconds()
    urgency = "late" if left < 0 else "soon" if left < HURRY * whole else ""
    return {
        **{"id": case.id, "kind": case.kind, "model": case.model, "subject": case.subject.pseudonym},
        **{"status": str(case.status), "requester": names.get(case.requester, case.requester)},
        **{"regime": case.regime, "received_at": case.received_at, "due_at": case.due_at},
        "days_left": round(left / 86400, 1) if is_open else None,
        "urgency": urgency if is_open else "",
        **{"outcome": case.outcome, "reason": case.reason, "plan_digest": case.plan_digest, "parent": case.parent},
    }


def case_view(workspace: Workspace, id: str) -> dict[str, Any]:
    """Return everything about a case that holds no personal data.

    Raises:
        UnknownCase: There is none of that id.
        Tampered: Its plan was changed.
    """
    with workspace.database.read() as connection:
        case, beside = cases.get(connection, id), cases.detail(connection, id)
        names = {person.id: person.name for person in people.everyone(connection, removed=True)}
        decided = [asdict(approval) for approval in approvals.history(connection, id)]
        near = [asdict(miss) for miss in reviews.near_misses_of(connection, id)]
        steps = journal.steps_of(connection, str(beside.get("lead", id)))
        missing = approvals.missing(connection, id) if case.status == CaseStatus.AWAITING_APPROVAL else 0
        extensions = cases.extensions_of(connection, id)
        tree = _family(connection, case)
        before, keep = families.waits_for(connection, case), families.what_to_do(connection, id)
    return {
        **brief(case, names),
        **{"plan": case.plan, "deadline": beside.get("deadline"), "batch": beside.get("batch", [])},
        **{"family": tree, "waits_for": before, "kept_open_by": keep},
        "extensions": [dict(extension) for extension in extensions],
        "near_misses": [_named({**m, "reason": open_reason(workspace, id, m["reason"])}, names) for m in near],
        "approvals": [_named(approval, names) for approval in decided],
        "missing_approvals": missing,
        "approver_roles": _approver_roles(workspace, case),
        "steps": [{"step": name, "seconds": result.get("step_seconds")} for name, result in steps.items()],
        "tried": [_tried(told, case.plan or {}, steps.get("apply", {})) for told in outcomes(steps)],
        "picture": steps.get("try", {}).get("picture", ""),
        "decisions": listing.verdicts(workspace, str(beside.get("lead", id))),
        "certificate": certificate_of(workspace, id),
        "timeline": [
            {"at": entry["at"], "action": entry["action"], "by": names.get(entry["actor"], entry["actor"])}
            for entry in listing.entries(workspace, case=id)
        ],
    }


def _family(connection: Connection, case: Case) -> list[dict[str, Any]]:
    """Return every case of a request, each after the one that opened it; nothing where the request is one case."""
    members = cases.family(connection, case.id)
    plans = {member.id: cases.get(connection, member.id).plan or {} for member in members}
    return [
        {
            **{"id": member.id, "parent": member.parent, "model": member.model, "status": str(member.status)},
            **{"reason": member.reason or "", "guarantee": str(plans[member.id].get("guarantee", ""))},
            **{"how": str(plans[member.id].get("how", "")), "because": str(plans[member.id].get("because", ""))},
        }
        for member in (members if len(members) > 1 else ())
    ]


def _tried(told: Mapping[str, Any], plan: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return a candidate of a search with what was read of it, and whether it was taken."""
    readings = {reading["name"]: reading for reading in told["readings"]}
    least, against = (readings.get(plan[key]["name"], {}).get(plan[key]["field"]) for key in ("least", "against"))
    same = all(told[name] == chosen.get(name) for name in ("operation", "parameters"))
    return {
        **{name: told[name] for name in ("operation", "parameters", "within", "reasons", "readings")},
        **{"least": least, "against": against, "is_chosen": same},
    }


def _approver_roles(workspace: Workspace, case: Case) -> list[str]:
    """Return who may approve a plan: a change's says it itself."""
    planned = (case.plan or {}).get("approvals")
    return list(planned["roles"] if planned else find_policy(workspace, "erasure").approvals.roles)


def _named(row: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {**row, "person": names.get(row["person"], row["person"])}


def near_texts(workspace: Workspace, id: str) -> dict[str, str]:
    """Return the text of each near miss of a case by record id, for the person who decides about it.

    Raises:
        Denied: Who acts does not review.
    """
    workspace.require_role("dpo", "operator")
    with workspace.database.read() as connection:
        wanted = {miss.record_id for miss in reviews.near_misses_of(connection, id)}
        alive = [found for found in datasets.find(connection) if found.status != "purged"]
    texts: dict[str, str] = {}
    for blob in dict.fromkeys(blob for dataset in alive for blob in blobs_of(dataset)):
        if wanted - texts.keys():
            texts |= {row["id"]: text_of(row) for row in rows_of(workspace, blob) if row["id"] in wanted}
    return texts


def certificates(workspace: Workspace) -> list[dict[str, Any]]:
    """Return the certificates that were issued here, by case."""
    found = sorted(_directory(workspace).glob("*.dsse.json"))
    return [known for file in found if (known := certificate_of(workspace, file.name.removesuffix(".dsse.json")))]


def certificate_of(workspace: Workspace, id: str) -> dict[str, Any] | None:
    """Return where a case's certificate lies, or None while there is none."""
    envelope = _directory(workspace) / f"{id}.dsse.json"
    if not envelope.exists():
        return None
    return {"case": id, "envelope": str(envelope), "page": str(envelope.with_name(f"{id}.html"))}


def _directory(workspace: Workspace) -> Path:
    return workspace.home / "certificates"
