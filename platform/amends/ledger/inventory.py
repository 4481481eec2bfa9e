"""What a version has beside its files: private state, and who was given a copy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select, update

from amends.errors import BadInput
from amends.ledger.columns import now
from amends.ledger.tables import recipients, state_blobs


@dataclass(frozen=True)
class StateBlob:
    """A blob of private state of a version, encrypted under a key of its lineage."""

    version: str
    name: str
    blob: str
    key_name: str


@dataclass(frozen=True)
class Recipient:
    """An export of a version: what went out, the digest of where to, and when."""

    id: int
    version: str
    what: str
    where_digest: str
    at: datetime
    told_at: datetime | None = None


def add_state(connection: Connection, blobs: Iterable[StateBlob]) -> None:
    """Enter state blobs; one of the same version and name is replaced."""
    for blob in blobs:
        same = (state_blobs.c.version == blob.version) & (state_blobs.c.name == blob.name)
        connection.execute(delete(state_blobs).where(same))
        connection.execute(insert(state_blobs).values(**vars(blob)))


def state_of(connection: Connection, version: str) -> dict[str, StateBlob]:
    """Return the private state of a version (by digest), by name."""
    query = select(state_blobs).where(state_blobs.c.version == version).order_by(state_blobs.c.name)
    return {row.name: StateBlob(**row._asdict()) for row in connection.execute(query)}


def users_of(connection: Connection, blob: str) -> tuple[str, ...]:
    """Return the versions (by digest) that share a state blob."""
    query = select(state_blobs.c.version).where(state_blobs.c.blob == blob).distinct().order_by(state_blobs.c.version)
    return tuple(connection.execute(query).scalars())


def remove_state(connection: Connection, version: str) -> tuple[str, ...]:
    """Forget a version's state and return the blobs that no other version uses, for the store to delete."""
    mine = {state.blob for state in state_of(connection, version).values()}
    connection.execute(delete(state_blobs).where(state_blobs.c.version == version))
    return tuple(sorted(blob for blob in mine if not users_of(connection, blob)))


def add_recipient(connection: Connection, version: str, what: str, where_digest: str) -> None:
    """Enter an export of a version."""
    connection.execute(insert(recipients).values(version=version, what=what, where_digest=where_digest, at=now()))


def recipients_of(connection: Connection, versions: Iterable[str]) -> tuple[Recipient, ...]:
    """Return who was given any of these versions, oldest first."""
    query = select(recipients).where(recipients.c.version.in_(list(versions))).order_by(recipients.c.id)
    return tuple(Recipient(**row._asdict()) for row in connection.execute(query))


def recipient(connection: Connection, id: int) -> Recipient:
    """Return one recipient.

    Raises:
        BadInput: There is none of that number.
    """
    row = connection.execute(select(recipients).where(recipients.c.id == id)).first()
    if row is None:
        raise BadInput(f"there is no recipient {id}; see amends models recipients")
    return Recipient(**row._asdict())


def mark_told(connection: Connection, recipient: int) -> None:
    """Remember that a recipient was told of an erasure, and confirmed it; the first time stays."""
    mine = (recipients.c.id == recipient) & recipients.c.told_at.is_(None)
    connection.execute(update(recipients).where(mine).values(told_at=now()))
