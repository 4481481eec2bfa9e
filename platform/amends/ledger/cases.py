"""Cases: requests with a clock, a plan and a status that moves only along allowed ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, exists, insert, or_, select, update

from amends.errors import BadInput, Denied, Tampered, UnknownCase
from amends.ledger import journal, reviews
from amends.ledger.columns import now
from amends.ledger.tables import approvals, cases, extensions
from amends.records import Case, CaseStatus, DataSubject, digest_of

S = CaseStatus
_ENDED = frozenset({S.COMPLETE, S.NEGATIVE, S.REFUSED, S.DENIED, S.CANCELLED})
_RESUMED = {S.LOCATING, S.AWAITING_REVIEW, S.AWAITING_APPROVAL, S.IN_PROGRESS}
_GIVEN_UP = {S.FAILED, S.CANCELLED, S.REFUSED}

TRANSITIONS: Mapping[CaseStatus, frozenset[CaseStatus]] = {
    S.LOCATING: frozenset({S.AWAITING_REVIEW, S.AWAITING_APPROVAL, S.IN_PROGRESS, S.NEGATIVE, *_GIVEN_UP}),
    S.AWAITING_REVIEW: frozenset({S.LOCATING, S.AWAITING_APPROVAL, S.NEGATIVE, *_GIVEN_UP}),
    S.AWAITING_APPROVAL: frozenset({S.LOCATING, S.AWAITING_REVIEW, S.IN_PROGRESS, S.DENIED, *_GIVEN_UP}),
    S.IN_PROGRESS: frozenset({S.AWAITING_APPROVAL, S.SEALED, S.COMPLETE, S.DENIED, *_GIVEN_UP}),
    S.SEALED: frozenset({S.IN_PROGRESS, S.COMPLETE, S.FAILED}),
    S.FAILED: frozenset({*_RESUMED, S.SEALED, S.CANCELLED, S.REFUSED}),
    S.DENIED: frozenset({S.LOCATING, S.AWAITING_APPROVAL, S.REFUSED, S.CANCELLED}),
    S.COMPLETE: frozenset(),
    S.NEGATIVE: frozenset(),
    S.REFUSED: frozenset(),
    S.CANCELLED: frozenset(),
}


def open_case(
    connection: Connection,
    case: Case,
    *,
    quorum: int = 2,
    ciphertext: bytes | None = None,
    detail: Mapping[str, Any] | None = None,
) -> Case:
    """Open a case; opening it again with the same id changes nothing and returns it as it stands.

    Args:
        connection: A writing connection.
        case: Its fields; `plan` and `plan_digest` are set later by `set_plan`.
        quorum: How many different people must approve the plan; at least 2 for kind `erasure`.
        ciphertext: The encrypted disclosure.
        detail: What the clock rests on: ground, jurisdiction, calendar, rule version; never personal data.

    Raises:
        Tampered: The id belongs to another request.
    """
    row = connection.execute(select(cases).where(cases.c.id == case.id)).first()
    if row is not None:
        known = _case(row)
        if (known.kind, known.model, known.subject, known.requester, known.parent) != (
            case.kind, case.model, case.subject, case.requester, case.parent
        ):  # fmt: skip
            raise Tampered(f"case {case.id} exists and is about something else; open a new one")
        return known
    if case.kind == "erasure" and quorum < 2:
        raise BadInput("an erasure needs the approval of two people; set a quorum of at least 2")
    values = {**vars(case), "subject": case.subject.pseudonym, "plan": None, "plan_digest": None}
    at = now()
    connection.execute(
        insert(cases).values(
            **values, quorum=quorum, ciphertext=ciphertext, detail=dict(detail or {}), opened_at=at, updated_at=at
        )
    )
    return get(connection, case.id)


def get(connection: Connection, case: str) -> Case:
    """Return a case with its plan.

    Raises:
        UnknownCase: There is none of that id.
        Tampered: The plan is not the one whose digest was recorded.
    """
    row = _row(connection, case)
    if row.plan is not None and digest_of(row.plan) != row.plan_digest:
        raise Tampered(f"the plan of case {case} was changed outside Amends; restore the database from a backup")
    return _case(row)


def detail(connection: Connection, case: str) -> dict[str, Any]:
    """Return what stands beside a case's fields: `detail`, quorum, opened_at, updated_at, closed_at, shredded_at."""
    row = _row(connection, case)
    beside = {name: getattr(row, name) for name in ("quorum", "opened_at", "updated_at", "closed_at", "shredded_at")}
    return {**row.detail, **beside}


def find(
    connection: Connection,
    *,
    mine: str | None = None,
    status: CaseStatus | Sequence[CaseStatus] | None = None,
    model: str | None = None,
    subject: str | None = None,
    kind: str | None = None,
    parent: str | None = None,
    limit: int | None = 100,
) -> tuple[Case, ...]:
    """Return cases by due date, without their plans (`get` has them).

    Args:
        connection: Any connection.
        mine: A person's id: cases they asked for or decided on.
        status: One status or several.
        model: Only cases about this model.
        subject: Only cases about this pseudonym.
        kind: Only cases of this kind.
        parent: Only cases that this one opened.
        limit: At most so many; None for all.
    """
    columns = [column for column in cases.c if column.name not in ("plan", "ciphertext", "detail")]
    query = select(*columns).order_by(cases.c.due_at, cases.c.id).limit(limit)
    given = {"model": model, "subject": subject, "kind": kind, "parent": parent}
    query = query.where(*(cases.c[name] == value for name, value in given.items() if value is not None))
    if status is not None:
        query = query.where(cases.c.status.in_([status] if isinstance(status, str) else list(status)))
    return tuple(_case(row) for row in connection.execute(_mine(query, mine)))


def family(connection: Connection, case: str) -> tuple[Case, ...]:
    """Return a case, the case that opened it, that one's, and all that any of these opened; each after its parent."""
    root = get(connection, case)
    while root.parent is not None:
        root = get(connection, root.parent)
    found = [root]
    for member in found:
        found += find(connection, parent=member.id, limit=None)
    return tuple(found)


def set_status(
    connection: Connection, case: str, status: CaseStatus, *, outcome: str | None = None, reason: str | None = None
) -> Case:
    """Move a case to a status; to stand where it stands already is allowed.

    Args:
        connection: A writing connection.
        case: Its id.
        status: Where it goes.
        outcome: `granted`, `partly granted` or `refused`, where it is known now; None leaves it.
        reason: One sentence for people, without personal data; None leaves it.

    Raises:
        Denied: There is no way from its status to this one, or too few people approved its plan.
    """
    row = _row(connection, case)
    here = CaseStatus(row.status)
    if status != here and status not in TRANSITIONS[here]:
        ways = ", ".join(sorted(TRANSITIONS[here])) or "nowhere, it has ended"
        raise Denied(f"case {case} is {here} and cannot become {status}; from here it goes: {ways}")
    said = {name: value for name, value in (("outcome", outcome), ("reason", reason)) if value is not None}
    closed = {"closed_at": now()} if status in _ENDED and status != here else {}
    _change(connection, case, status=status, **said, **closed)
    return get(connection, case)


def set_subject(connection: Connection, case: str, pseudonym: str) -> None:
    """Name the subject once locating has found which pseudonym the disclosure means."""
    _row(connection, case)
    _change(connection, case, subject=pseudonym)


def set_plan(connection: Connection, case: str, plan: Mapping[str, Any]) -> str:
    """Give a case its plan, void the decisions on any other plan, and return the plan's digest.

    Raises:
        Denied: The case is being carried out or has ended.
    """
    row = _row(connection, case)
    digest = digest_of(plan)
    if row.plan_digest == digest:
        return digest
    if row.status in {S.IN_PROGRESS, S.SEALED, *_ENDED - {S.DENIED}}:
        raise Denied(f"case {case} is {row.status}, so its plan stays; send it back to approval first")
    standing = (approvals.c.case_id == case) & approvals.c.voided_at.is_(None)
    connection.execute(update(approvals).where(standing).values(voided_at=now()))
    _change(connection, case, plan=dict(plan), plan_digest=digest)
    return digest


def set_deadline(connection: Connection, case: str, due_at: datetime, detail: Mapping[str, Any]) -> Case:
    """Set the due date anew (a corrected date of receipt, a pause), adding what it rests on to the detail."""
    row = _row(connection, case)
    _change(connection, case, due_at=due_at, detail={**row.detail, **detail})
    return get(connection, case)


def add_detail(connection: Connection, case: str, detail: Mapping[str, Any]) -> None:
    """Add facts that stand beside a case's fields, such as the batch it is carried out in."""
    row = _row(connection, case)
    _change(connection, case, detail={**row.detail, **detail})


def extend(
    connection: Connection, case: str, *, due_at: datetime, reason: str, notice_sent_at: datetime, person: str
) -> Case:
    """Extend the clock; the rule of the regime (once, how far, notice in time) is the governor's to check.

    Raises:
        BadInput: No reason is given, or the date is not later.
    """
    row = _row(connection, case)
    if row.due_at == due_at:
        return get(connection, case)
    if not reason.strip() or due_at < row.due_at:
        raise BadInput(f"case {case} can only be extended to a later date and with a reason; give both")
    connection.execute(
        insert(extensions).values(
            case_id=case, previous_due_at=row.due_at, due_at=due_at, reason=reason,
            notice_sent_at=notice_sent_at, person=person, at=now(),
        )
    )  # fmt: skip
    _change(connection, case, due_at=due_at)
    return get(connection, case)


def extensions_of(connection: Connection, case: str) -> tuple[dict[str, Any], ...]:
    """Return the extensions of a case, oldest first."""
    query = select(extensions).where(extensions.c.case_id == case).order_by(extensions.c.id)
    return tuple(dict(row) for row in connection.execute(query).mappings())


def ciphertext(connection: Connection, case: str) -> bytes | None:
    """Return the encrypted disclosure, or None where there was none or it was shredded."""
    sealed = _row(connection, case).ciphertext
    return None if sealed is None else bytes(sealed)


def set_ciphertext(connection: Connection, case: str, sealed: bytes) -> None:
    """Keep the encrypted disclosure of a case."""
    _row(connection, case)
    _change(connection, case, ciphertext=sealed)


def shred(connection: Connection, case: str) -> None:
    """Drop the ciphertext, the step journal and the reasons of review marks; destroying the key is the vault's."""
    row = _row(connection, case)
    journal.forget_steps(connection, case)
    reviews.forget_reasons(connection, case)
    _change(connection, case, ciphertext=None, shredded_at=row.shredded_at or now())


def _mine(query: Select[Any], person: str | None) -> Select[Any]:
    if person is None:
        return query
    decided = exists().where(approvals.c.case_id == cases.c.id, approvals.c.person == person)
    return query.where(or_(cases.c.requester == person, decided))


def _row(connection: Connection, case: str) -> Row[Any]:
    row = connection.execute(select(cases).where(cases.c.id == case)).first()
    if row is None:
        raise UnknownCase(f"there is no case {case!r}; see amends cases list")
    return row


def _change(connection: Connection, case: str, **values: Any) -> None:
    connection.execute(update(cases).where(cases.c.id == case).values(**values, updated_at=now()))


def _case(row: Row[Any]) -> Case:
    fields = {name: value for name, value in row._asdict().items() if name in Case.__dataclass_fields__}
    found = Case(**{**fields, "subject": DataSubject(row.subject), "status": CaseStatus(row.status)})
    return replace(found, plan=fields.get("plan"))
