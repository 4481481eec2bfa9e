"""Copies outside our reach: users' own files, backups, other stores, each pending until its date or a confirmation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from amends.errors import BadInput
from amends.ledger.columns import now
from amends.ledger.tables import copies

KINDS = ("backup", "external", "store")


@dataclass(frozen=True)
class Copy:
    """A declared copy.

    Args:
        kind: `backup`, `external` (a user's own file) or `store` (a system outside).
        digest: sha256 of the bytes, where they are known.
        place: Where it lies, for the person who must delete it; forgotten on confirmation.
        expires_at: When it deletes itself, or None.
    """

    id: str
    kind: str
    digest: str | None
    place: str | None
    declared_at: datetime
    expires_at: datetime | None = None
    confirmed_at: datetime | None = None
    confirmed_by: str | None = None


def declare(
    connection: Connection,
    id: str,
    kind: str,
    *,
    digest: str | None = None,
    place: str | None = None,
    expires_at: datetime | None = None,
) -> Copy:
    """Declare a copy; the same id again changes nothing.

    Raises:
        BadInput: The kind is unknown, or a backup has no expiry.
    """
    if kind not in KINDS or (kind == "backup" and expires_at is None):
        raise BadInput(f"a copy is one of {', '.join(KINDS)}, and a backup says when it expires")
    known = connection.execute(select(copies).where(copies.c.id == id)).first()
    if known is None:
        values = {"id": id, "kind": kind, "digest": digest, "place": place, "expires_at": expires_at}
        connection.execute(insert(copies).values(**values, declared_at=now()))
    return get(connection, id)


def get(connection: Connection, id: str) -> Copy:
    """Return a declared copy.

    Raises:
        BadInput: There is none of that id.
    """
    row = connection.execute(select(copies).where(copies.c.id == id)).first()
    if row is None:
        raise BadInput(f"no copy {id!r} is declared; see amends data copies")
    return _copy(row)


def confirm_deleted(connection: Connection, id: str, person: str) -> Copy:
    """Record that a person confirmed the deletion, and forget where it lay."""
    if get(connection, id).confirmed_at is None:
        values = {"confirmed_at": now(), "confirmed_by": person, "place": None}
        connection.execute(update(copies).where(copies.c.id == id).values(**values))
    return get(connection, id)


def pending(connection: Connection, at: datetime | None = None) -> tuple[Copy, ...]:
    """Return the copies that may still exist at a time: neither confirmed as deleted nor expired."""
    alive = copies.c.confirmed_at.is_(None) & (copies.c.expires_at.is_(None) | (copies.c.expires_at > (at or now())))
    rows = connection.execute(select(copies).where(alive).order_by(copies.c.declared_at, copies.c.id))
    return tuple(_copy(row) for row in rows)


def _copy(row: Row[Any]) -> Copy:
    return Copy(**row._asdict())
