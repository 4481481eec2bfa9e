"""The suppression list: keyed hashes of erased people's identifiers, so that they do not come back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sqlalchemy import Connection, func, insert, select

from amends.ledger.columns import now
from amends.ledger.tables import suppressions


def add(connection: Connection, entries: Iterable[tuple[str, str]], case: str) -> int:
    """Enter `(kind, mac)` pairs for a case and return how many were new."""
    wanted = sorted(set(entries))
    known = set(_found(connection, [mac for _, mac in wanted]))
    fresh = [
        {"kind": kind, "mac": mac, "case_id": case, "at": now()} for kind, mac in wanted if (kind, mac) not in known
    ]
    if fresh:
        connection.execute(insert(suppressions), fresh)
    return len(fresh)


def hits(connection: Connection, macs: Sequence[str]) -> set[str]:
    """Return those macs that are on the list."""
    return {mac for _, mac in _found(connection, macs)}


def entries(connection: Connection) -> tuple[tuple[str, str, str], ...]:
    """Return `(kind, mac, case)` of every identifier on the list, for a backup that is to be restored without them."""
    query = select(suppressions.c.kind, suppressions.c.mac, suppressions.c.case_id).order_by("kind", "mac")
    return tuple((row.kind, row.mac, row.case_id) for row in connection.execute(query))


def size(connection: Connection) -> int:
    """Return how many identifiers are on the list."""
    return connection.execute(select(func.count()).select_from(suppressions)).scalar_one()


def _found(connection: Connection, macs: Sequence[str]) -> Iterator[tuple[str, str]]:
    unique = sorted(set(macs))
    for start in range(0, len(unique), 500):
        query = select(suppressions.c.kind, suppressions.c.mac).where(
            suppressions.c.mac.in_(unique[start : start + 500])
        )
        for row in connection.execute(query):
            yield row.kind, row.mac
