"""Decisions of people on one plan of one case; the database refuses the requester and a second vote."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from amends.errors import BadInput, Denied
from amends.ledger.columns import now
from amends.ledger.people import Person, Role, everyone
from amends.ledger.tables import approvals, cases
from amends.records import CaseStatus


@dataclass(frozen=True)
class Approval:
    """One person's decision (`approve` or `deny`) on the plan of that digest."""

    case: str
    plan_digest: str
    person: str
    role: Role
    decision: str
    reason: str
    at: datetime
    voided_at: datetime | None = None


def approve(
    connection: Connection, case: str, plan_digest: str, person: Person, decision: str = "approve", reason: str = ""
) -> tuple[Approval, ...]:
    """Record a decision and return those that stand on this plan so far; the same decision again changes nothing.

    Raises:
        Denied: The person asked for the case, decided otherwise before, or the plan has changed.
        BadInput: The decision is neither `approve` nor `deny`, or a denial gives no reason.
    """
    if decision not in ("approve", "deny") or (decision == "deny" and not reason.strip()):
        raise BadInput("a decision is approve, or deny with a reason")
    _check(connection, case, plan_digest, person)
    so_far = standing(connection, case)
    mine = next((known for known in so_far if known.person == person.id), None)
    if mine is not None:
        if mine.decision != decision:
            raise Denied(f"you decided {mine.decision!r} on case {case} before; a new plan is needed to decide again")
        return so_far
    connection.execute(
        insert(approvals).values(
            case_id=case, plan_digest=plan_digest, person=person.id, role=person.role,
            decision=decision, reason=reason, at=now(),
        )
    )  # fmt: skip
    return standing(connection, case)


def standing(connection: Connection, case: str) -> tuple[Approval, ...]:
    """Return the decisions that stand on the case's plan, oldest first."""
    return tuple(found for found in history(connection, case) if found.voided_at is None)


def history(connection: Connection, case: str) -> tuple[Approval, ...]:
    """Return every decision on a case, those on earlier plans included, oldest first."""
    query = select(approvals).where(approvals.c.case_id == case).order_by(approvals.c.id)
    return tuple(_approval(row) for row in connection.execute(query))


def counting(connection: Connection, case: str) -> tuple[Approval, ...]:
    """Return the approvals of the case's plan that count, oldest first: who was removed since has no say any more."""
    here = {person.id for person in everyone(connection)}
    return tuple(found for found in standing(connection, case) if found.decision == "approve" and found.person in here)


def missing(connection: Connection, case: str) -> int:
    """Return how many more people must approve before the case may start: of what it was opened for and its plan says.

    Whichever asks for more counts: a policy may have changed since the case was opened.
    """
    row = connection.execute(select(cases.c.quorum, cases.c.plan).where(cases.c.id == case)).one()
    planned = int((row.plan or {}).get("approvals", {}).get("count", 0))
    wanted: int = max(row.quorum, planned)
    return max(0, wanted - len({found.person for found in counting(connection, case)}))


def _check(connection: Connection, case: str, plan_digest: str, person: Person) -> None:
    row = connection.execute(select(cases).where(cases.c.id == case)).first()
    if row is None or row.plan_digest is None:
        raise BadInput(f"case {case} has no plan yet; wait until it is located and reviewed")
    if row.status != CaseStatus.AWAITING_APPROVAL:
        raise Denied(f"case {case} is {row.status} and awaits no approval")
    if row.plan_digest != plan_digest:
        raise Denied(f"the plan of case {case} has changed; read it again with amends cases show {case}")
    if row.requester == person.id:
        raise Denied(f"you asked for case {case}; two other people must approve it")


def _approval(row: Row[Any]) -> Approval:
    return Approval(
        row.case_id, row.plan_digest, row.person, Role(row.role), row.decision, row.reason, row.at, row.voided_at
    )
