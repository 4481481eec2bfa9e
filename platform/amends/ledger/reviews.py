"""Near misses of locating, and what a person decided about each: erase, redact, keep or hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from amends.errors import BadInput
from amends.ledger.columns import now
from amends.ledger.tables import cases, near_misses

MARKS = ("erase", "redact", "keep", "hold")


@dataclass(frozen=True)
class NearMiss:
    """A record that may be about the subject: keyed id, dataset digest, score in percent, and its mark."""

    case: str
    record_id: str
    dataset: str
    score: int
    mark: str | None = None
    reason: str | None = None
    person: str | None = None
    at: datetime | None = None


def add_near_misses(connection: Connection, case: str, found: Iterable[tuple[str, str, int]]) -> None:
    """List `(record_id, dataset, score)` for review; those listed already keep their marks."""
    known = {miss.record_id for miss in near_misses_of(connection, case)}
    fresh = {record: (dataset, score) for record, dataset, score in found if record not in known}
    if fresh:
        rows = [
            {"case_id": case, "record_id": record, "dataset": dataset, "score": score}
            for record, (dataset, score) in fresh.items()
        ]
        connection.execute(insert(near_misses), rows)


def mark_near_miss(connection: Connection, case: str, record_id: str, mark: str, reason: str, person: str) -> None:
    """Record what is to happen to a near miss.

    Raises:
        BadInput: The record is not on the list, the mark is unknown, or no reason is given.
    """
    if mark not in MARKS or not reason.strip():
        raise BadInput(f"mark a near miss with one of {', '.join(MARKS)} and a reason")
    listed = (near_misses.c.case_id == case) & (near_misses.c.record_id == record_id)
    values = {"mark": mark, "reason": reason, "person": person, "at": now()}
    if connection.execute(update(near_misses).where(listed).values(**values)).rowcount == 0:
        raise BadInput(f"case {case} lists no near miss {record_id!r}; see amends cases show {case}")


def near_misses_of(connection: Connection, case: str, *, unmarked: bool = False) -> tuple[NearMiss, ...]:
    """Return the near misses of a case, the likeliest first; with `unmarked` those that still wait."""
    query = select(near_misses).where(near_misses.c.case_id == case)
    if unmarked:
        query = query.where(near_misses.c.mark.is_(None))
    rows = connection.execute(query.order_by(near_misses.c.score.desc(), near_misses.c.record_id))
    return tuple(NearMiss(*row) for row in rows)


def reviewed_as(connection: Connection, case: str) -> str:
    """Return the case whose near misses were reviewed for this one: the request that opened it, or itself."""
    above: str | None = case
    while above is not None:
        case, above = above, connection.execute(select(cases.c.parent).where(cases.c.id == above)).scalar()
    return case


def has_hold(connection: Connection, case: str) -> bool:
    """Whether an exemption keeps a record of the case, or of the request that opened it."""
    return any(miss.mark == "hold" for miss in near_misses_of(connection, reviewed_as(connection, case)))


def outcome_of(connection: Connection, case: str) -> str:
    """Return what an erasure that was carried out comes to: `granted`, or `partly granted` where a record is held."""
    return "partly granted" if has_hold(connection, case) else "granted"


def forget_reasons(connection: Connection, case: str) -> None:
    """Blank the reasons, which people wrote and which may name somebody."""
    written = (near_misses.c.case_id == case) & near_misses.c.reason.is_not(None)
    connection.execute(update(near_misses).where(written).values(reason=""))
