"""The append-only audit log: a hash chain over canonical JSON, written in the transaction of the change."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select

from amends.errors import BadInput, Tampered
from amends.ledger.actions import Action
from amends.ledger.columns import now, stamp
from amends.ledger.tables import audit, cursors
from amends.records import AuditEntry, canonical_json

GENESIS = "0" * 64


@dataclass(frozen=True)
class Draft:
    """An entry to be written: a stable id, who acted, what was done, and plain JSON without personal data."""

    id: str
    actor: str
    action: Action
    body: Mapping[str, Any]


def append(connection: Connection, *, id: str, actor: str, action: Action, body: Mapping[str, Any]) -> AuditEntry:
    """Write one entry; the same id with the same content returns the entry that exists.

    Raises:
        Tampered: The id exists with other content.
        BadInput: The body is not plain JSON.
    """
    return append_many(connection, [Draft(id, actor, action, body)])[0]


def append_many(connection: Connection, drafts: Sequence[Draft]) -> tuple[AuditEntry, ...]:
    """Write many entries at once, in order, as `append` does one.

    Raises:
        Tampered: An id exists with other content.
        BadInput: A body is not plain JSON.
    """
    known = _existing(connection, [draft.id for draft in drafts])
    seq, previous = head(connection)
    written, fresh = [], []
    at = stamp(now())
    for draft in drafts:
        _check_plain(draft.body)
        entry = known.get(draft.id)
        if entry is None:
            entry = _entry(seq + 1, draft, at, previous)
            seq, previous = entry.seq, entry.hash
            known[draft.id] = entry
            fresh.append(entry)
        elif (entry.actor, entry.action, entry.body) != (draft.actor, str(draft.action), _plain(draft.body)):
            raise Tampered(f"audit entry {draft.id!r} exists with other content; use a new id for a new fact")
        written.append(entry)
    if fresh:
        connection.execute(insert(audit), [vars(entry) for entry in fresh])
    return tuple(written)


def head(connection: Connection) -> tuple[int, str]:
    """Return the last entry's number and hash, `(0, GENESIS)` for an empty log."""
    last = connection.execute(select(audit.c.seq, audit.c.hash).order_by(audit.c.seq.desc()).limit(1)).first()
    return (last.seq, last.hash) if last else (0, GENESIS)


def entries(connection: Connection, after: int = 0, limit: int | None = None) -> Iterator[AuditEntry]:
    """Yield the entries behind `after`, in order."""
    query = select(audit).where(audit.c.seq > after).order_by(audit.c.seq).limit(limit)
    for row in connection.execute(query.execution_options(yield_per=1000)):
        yield _read(row)


def count(connection: Connection, prefix: str) -> int:
    """Return how many entries have an id that begins so."""
    query = select(func.count()).select_from(audit).where(audit.c.id.startswith(prefix, autoescape=True))
    return int(connection.execute(query).scalar_one())


def beginning(connection: Connection, prefix: str) -> tuple[AuditEntry, ...]:
    """Return the entries whose id begins so, oldest first."""
    query = select(audit).where(audit.c.id.startswith(prefix, autoescape=True)).order_by(audit.c.seq)
    return tuple(_read(row) for row in connection.execute(query))


def latest(connection: Connection, action: Action) -> AuditEntry | None:
    """Return the last entry of an action, or None."""
    query = select(audit).where(audit.c.action == action).order_by(audit.c.seq.desc()).limit(1)
    row = connection.execute(query).first()
    return None if row is None else _read(row)


def get(connection: Connection, seq: int) -> AuditEntry:
    """Return one entry.

    Raises:
        BadInput: The log has no such entry.
    """
    row = connection.execute(select(audit).where(audit.c.seq == seq)).first()
    if row is None:
        raise BadInput(f"the audit log has no entry {seq}; it ends at {head(connection)[0]}")
    return _read(row)


def verify_chain(connection: Connection) -> int:
    """Check every link and return the number of entries.

    Raises:
        Tampered: An entry was changed, removed or inserted; the sentence names it.
    """
    return check_links(entries(connection))


def check_links(chain: Iterator[AuditEntry]) -> int:
    """Check a chain from its beginning, wherever it was read from, and return its length.

    Raises:
        Tampered: An entry was changed, removed or inserted; the sentence names it.
    """
    count, previous = 0, GENESIS
    for entry in chain:
        count += 1
        if entry.seq != count or entry.previous != previous or entry.hash != hash_of(entry):
            raise Tampered(f"audit entry {count} is not what was written; restore the log from a backup")
        previous = entry.hash
    return count


def hash_of(entry: AuditEntry) -> str:
    """Return the hash that an entry must carry: of all its other fields, the previous hash included."""
    fields = {name: value for name, value in vars(entry).items() if name != "hash"}
    return hashlib.sha256(canonical_json(fields)).hexdigest()


def position(connection: Connection, reader: str) -> int:
    """Return the last entry that a named reader (a hook, a mirror) has dealt with, 0 at first."""
    return connection.execute(select(func.max(cursors.c.seq)).where(cursors.c.name == reader)).scalar() or 0


def advance(connection: Connection, reader: str, seq: int) -> None:
    """Remember the last entry that a named reader has dealt with."""
    connection.execute(delete(cursors).where(cursors.c.name == reader))
    connection.execute(insert(cursors).values(name=reader, seq=seq))


def enlist(connection: Connection, readers: Iterable[str]) -> None:
    """Let readers that are new begin behind the last entry; whoever writes one next calls this first."""
    for reader in readers:
        if not is_enlisted(connection, reader):
            advance(connection, reader, head(connection)[0])


def is_enlisted(connection: Connection, reader: str) -> bool:
    """Whether a reader has a place in the log already."""
    return connection.execute(select(cursors.c.seq).where(cursors.c.name == reader)).first() is not None


def _existing(connection: Connection, ids: Sequence[str]) -> dict[str, AuditEntry]:
    found: dict[str, AuditEntry] = {}
    for start in range(0, len(ids), 500):
        query = select(audit).where(audit.c.id.in_(ids[start : start + 500]))
        found.update((row.id, _read(row)) for row in connection.execute(query))
    return found


def _entry(seq: int, draft: Draft, at: str, previous: str) -> AuditEntry:
    action = str(Action(draft.action))
    unsealed = AuditEntry(seq, draft.id, at, draft.actor, action, _plain(draft.body), previous, "")
    return AuditEntry(**{**vars(unsealed), "hash": hash_of(unsealed)})


def _read(row: Row[Any]) -> AuditEntry:
    return AuditEntry(**row._asdict())


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, str) else value


def _check_plain(value: Any) -> None:
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise BadInput("an audit entry's keys must be text")
        for item in value.values():
            _check_plain(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_plain(item)
    elif isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        raise BadInput("an audit entry cannot hold NaN or infinity; write null")
    elif not (value is None or isinstance(value, str | bool | int | float)):
        raise BadInput(f"an audit entry cannot hold a {type(value).__name__}; use text, numbers, lists and maps")
