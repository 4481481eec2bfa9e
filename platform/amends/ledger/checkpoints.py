"""Signed checkpoints of the audit log: RFC 6962 roots in DSSE envelopes, and proofs that an entry is under one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from amends.errors import BadInput, Tampered
from amends.ledger import audit
from amends.ledger.columns import now, stamp
from amends.ledger.tables import checkpoints
from amends.records import AuditEntry, canonical_json
from amends.vault import merkle, signing
from amends.vault.keys import Keyring

PAYLOAD_TYPE = "application/vnd.amends.checkpoint+json"


@dataclass(frozen=True)
class Checkpoint:
    """What was signed: the log had `size` entries under `root` at this time."""

    size: int
    root: str
    at: str
    envelope: Mapping[str, Any]


@dataclass(frozen=True)
class Inclusion:
    """A proof that entry `seq` with `hash` is under a signed root; `asdict` of it is plain JSON."""

    seq: int
    hash: str
    size: int
    root: str
    path: tuple[str, ...]
    envelope: Mapping[str, Any]


def checkpoint(connection: Connection, keyring: Keyring) -> Checkpoint:
    """Sign the log as it stands; without new entries the last checkpoint is returned.

    Only the entries since the last checkpoint are read, and their links are checked before anything is signed.

    Raises:
        Tampered: A new entry does not follow from the one before it.
    """
    row = connection.execute(select(checkpoints).order_by(checkpoints.c.size.desc()).limit(1)).first()
    size, last = audit.head(connection)
    if row is not None and row.size == size:
        return _checkpoint(row)
    start = row.size if row is not None else 0
    frontier = merkle.Frontier(start, [bytes.fromhex(peak) for peak in row.frontier] if row is not None else [])
    link = audit.get(connection, start).hash if start else audit.GENESIS
    frontier.extend(_leaves(_linked(audit.entries(connection, after=start), link)))
    if frontier.size != size:
        raise Tampered(f"the audit log ends at {size} but holds {frontier.size} entries; restore it from a backup")
    root, at = frontier.root().hex(), stamp(now())
    payload = {"size": size, "root": root, "last": last, "at": at}
    made = Checkpoint(size, root, at, signing.sign(keyring, PAYLOAD_TYPE, canonical_json(payload)))
    peaks = [peak.hex() for peak in frontier.peaks]
    connection.execute(insert(checkpoints).values(**asdict(made), frontier=peaks))
    return made


def latest(connection: Connection) -> Checkpoint | None:
    """Return the last checkpoint, or None while there is none."""
    row = connection.execute(select(checkpoints).order_by(checkpoints.c.size.desc()).limit(1)).first()
    return None if row is None else _checkpoint(row)


def every(connection: Connection) -> Iterator[Checkpoint]:
    """Yield the checkpoints, oldest first."""
    for row in connection.execute(select(checkpoints).order_by(checkpoints.c.size)):
        yield _checkpoint(row)


def verify_checkpoints(connection: Connection, public_keys: Mapping[str, str]) -> int:
    """Check the chain and every checkpoint's signature and root, and return the number of checkpoints.

    Raises:
        Tampered: An entry or a checkpoint is not what was written.
    """
    return check_signed(audit.entries(connection), every(connection), public_keys)


def check_signed(entries: Iterable[AuditEntry], signed: Iterable[Checkpoint], public_keys: Mapping[str, str]) -> int:
    """Check entries and checkpoints, wherever they were read from, and return the number of checkpoints.

    Raises:
        Tampered: An entry or a checkpoint is not what was written.
    """
    chain = _linked(iter(entries), audit.GENESIS)
    frontier, count = merkle.Frontier(), 0
    for made in signed:
        _check_signature(made, public_keys)
        frontier.extend(_leaves(islice(chain, max(0, made.size - frontier.size))))
        if frontier.size != made.size or frontier.root().hex() != made.root:
            raise Tampered(f"the log is not the one that was signed at {made.size} entries; restore it from a backup")
        count += 1
    for _ in chain:  # links behind the last checkpoint
        pass
    return count


def inclusion(connection: Connection, seq: int) -> Inclusion:
    """Prove that an entry is under the last signed root.

    Raises:
        BadInput: No checkpoint covers the entry yet.
        Tampered: The log is not the one that was signed.
    """
    return inclusions(connection, [seq])[0]


def inclusions(connection: Connection, seqs: Sequence[int]) -> tuple[Inclusion, ...]:
    """Prove for several entries, which are read once, that each is under the last signed root.

    Raises:
        BadInput: No checkpoint covers one of the entries yet.
        Tampered: The log is not the one that was signed.
    """
    made = latest(connection)
    missing = [seq for seq in seqs if made is None or not 1 <= seq <= made.size]
    if made is None or missing:
        raise BadInput(f"no signed checkpoint covers audit entry {missing[0] if missing else 0}; sign one first")
    leaves = list(_leaves(audit.entries(connection, limit=made.size)))
    return tuple(_included(seq, leaves, made) for seq in seqs)


def _included(seq: int, leaves: Sequence[bytes], made: Checkpoint) -> Inclusion:
    path = merkle.inclusion_proof(seq - 1, leaves)
    if not merkle.verify_inclusion(leaves[seq - 1], seq - 1, made.size, path, bytes.fromhex(made.root)):
        raise Tampered(f"the log is not the one that was signed at {made.size} entries; restore it from a backup")
    entry_hash = leaves[seq - 1].hex()
    return Inclusion(seq, entry_hash, made.size, made.root, tuple(node.hex() for node in path), made.envelope)


def check_inclusion(proof: Mapping[str, Any], public_keys: Mapping[str, str]) -> None:
    """Check an `Inclusion` that was read from JSON, offline.

    Raises:
        Tampered: The root is not signed by these keys, or the entry is not under it.
    """
    try:
        found = Inclusion(**{**proof, "path": tuple(proof["path"])})
        leaf, root, *path = (bytes.fromhex(node) for node in (found.hash, found.root, *found.path))
    except (TypeError, ValueError, KeyError):
        raise Tampered("this is no proof of inclusion any more; fetch it again from where it was published") from None
    payload = _payload(found.envelope, public_keys)
    if (payload["size"], payload["root"]) != (found.size, found.root):
        raise Tampered("the proof names another root than the signed one; fetch it again")
    if not merkle.verify_inclusion(leaf, found.seq - 1, found.size, path, root):
        raise Tampered(f"audit entry {found.seq} is not under the signed root; the entry or the proof was changed")


def _leaves(entries: Iterable[AuditEntry]) -> Iterator[bytes]:
    return (bytes.fromhex(entry.hash) for entry in entries)


def _linked(entries: Iterator[AuditEntry], previous: str) -> Iterator[AuditEntry]:
    for entry in entries:
        if entry.previous != previous or entry.hash != audit.hash_of(entry):
            raise Tampered(f"audit entry {entry.seq} is not what was written; restore the log from a backup")
        previous = entry.hash
        yield entry


def _check_signature(made: Checkpoint, public_keys: Mapping[str, str]) -> None:
    payload = _payload(made.envelope, public_keys)
    if (payload["size"], payload["root"], payload["at"]) != (made.size, made.root, made.at):
        raise Tampered(f"the checkpoint at {made.size} entries is not what was signed; restore it from a backup")


def _payload(envelope: Mapping[str, Any], public_keys: Mapping[str, str]) -> dict[str, Any]:
    payload: dict[str, Any] = json.loads(signing.verify(envelope, public_keys, PAYLOAD_TYPE))
    return payload


def _checkpoint(row: Row[Any]) -> Checkpoint:
    return Checkpoint(row.size, row.root, row.at, row.envelope)
