"""Registered data: which blob, whose it is, and the index of keyed identifiers that finds a subject."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from amends.errors import BadInput, Tampered
from amends.ledger.columns import now
from amends.ledger.tables import dataset_subjects, datasets, subject_index


@dataclass(frozen=True)
class Dataset:
    """A registered file of prepared records; `digest` names its blob and is its identity.

    Args:
        name: What people call it; the newest active one of a name is meant by the name alone.
        raw_digest: Blob of the copy of what was registered, or None.
        records: How many records it has.
        subjects: How many subjects, controls included.
        controls: How many of them are withheld from training.
        parent: Digest of the dataset this one was made from, by dropping somebody.
        source_digest: sha256 of the user's own file, which stays outside.
        settings: Field names, fractions and seeds it was prepared with.
        status: `active`, `superseded` or `purged`.
    """

    digest: str
    name: str
    records: int
    subjects: int
    controls: int
    raw_digest: str | None = None
    parent: str | None = None
    source_digest: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    status: str = "active"
    registered_at: datetime | None = None


@dataclass(frozen=True)
class Membership:
    """One subject's part in a dataset."""

    pseudonym: str
    records: int
    is_control: bool


def register(connection: Connection, dataset: Dataset, members: Iterable[Membership]) -> Dataset:
    """Enter a dataset and whose it is; entering the same digest again changes nothing.

    Raises:
        Tampered: The digest is registered with other counts.
    """
    row = connection.execute(select(datasets).where(datasets.c.digest == dataset.digest)).first()
    if row is not None:
        known = _dataset(row)
        counts = (known.records, known.subjects, known.controls)
        if counts != (dataset.records, dataset.subjects, dataset.controls):
            raise Tampered(f"dataset {dataset.digest[:12]} is registered with other counts; its row was changed")
        return known
    connection.execute(insert(datasets).values(**{**vars(dataset), "registered_at": now()}))
    rows = [{"dataset": dataset.digest, **vars(member)} for member in members]
    if rows:
        connection.execute(insert(dataset_subjects), rows)
    return get(connection, dataset.digest)


def get(connection: Connection, reference: str) -> Dataset:
    """Return a dataset by digest, by `name`, or by `name@digest` with the first letters of the digest.

    Raises:
        BadInput: There is none, or the letters fit several.
    """
    name, _, start = reference.partition("@")
    if start:
        wanted = (datasets.c.name == name) & datasets.c.digest.startswith(start, autoescape=True)
    else:
        wanted = (datasets.c.digest == name) | ((datasets.c.name == name) & (datasets.c.status == "active"))
    rows = connection.execute(select(datasets).where(wanted).order_by(datasets.c.registered_at.desc())).all()
    if not rows or (start and len(rows) > 1):
        raise BadInput(f"there is no single dataset {reference!r}; see amends data list")
    return _dataset(rows[0])


def find(connection: Connection, *, status: str | None = None) -> tuple[Dataset, ...]:
    """Return the datasets, by name and newest first."""
    query = select(datasets).order_by(datasets.c.name, datasets.c.registered_at.desc())
    rows = connection.execute(query if status is None else query.where(datasets.c.status == status))
    return tuple(_dataset(row) for row in rows)


def set_status(connection: Connection, digest: str, status: str) -> None:
    """Mark a dataset `active`, `superseded` or `purged`."""
    get(connection, digest)
    connection.execute(update(datasets).where(datasets.c.digest == digest).values(status=status))


def set_licence(connection: Connection, digest: str, licence: str) -> None:
    """Remember what a data set is under, as somebody declared it."""
    settings = {**get(connection, digest).settings, "licence": licence}
    connection.execute(update(datasets).where(datasets.c.digest == digest).values(settings=settings))


def set_parent(connection: Connection, digest: str, parent: str) -> None:
    """Say what a dataset was made from, after it was made once more from another one."""
    connection.execute(update(datasets).where(datasets.c.digest == digest).values(parent=parent))


def set_control(connection: Connection, digest: str, control: str, *, subjects: int, controls: int) -> None:
    """Name another blob of withheld records, after somebody who was never trained on was dropped from it."""
    settings = {**get(connection, digest).settings, "control": control}
    values = {"settings": settings, "subjects": subjects, "controls": controls}
    connection.execute(update(datasets).where(datasets.c.digest == digest).values(**values))


def subjects_of(connection: Connection, digest: str) -> tuple[Membership, ...]:
    """Return whose a dataset is, by pseudonym."""
    query = select(dataset_subjects).where(dataset_subjects.c.dataset == digest).order_by(dataset_subjects.c.pseudonym)
    return tuple(Membership(row.pseudonym, row.records, row.is_control) for row in connection.execute(query))


def datasets_of(connection: Connection, pseudonym: str) -> tuple[str, ...]:
    """Return the digests of the datasets that hold records of a subject, purged ones left out."""
    query = (
        select(datasets.c.digest)
        .join(dataset_subjects, dataset_subjects.c.dataset == datasets.c.digest)
        .where(dataset_subjects.c.pseudonym == pseudonym, datasets.c.status != "purged")
        .order_by(datasets.c.registered_at, datasets.c.digest)
    )
    return tuple(connection.execute(query).scalars())


def add_to_index(connection: Connection, rows: Iterable[tuple[str, str, str]]) -> None:
    """Enter `(pseudonym, kind, mac)` triples; those that are there stay."""
    wanted = {(mac, kind, pseudonym) for pseudonym, kind, mac in rows}
    known = set(_indexed(connection, [mac for mac, _, _ in wanted]))
    fresh = [{"mac": mac, "kind": kind, "pseudonym": who} for mac, kind, who in sorted(wanted - known)]
    if fresh:
        connection.execute(insert(subject_index), fresh)


def lookup(connection: Connection, macs: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return whom each known mac belongs to; two people may share a name, so each has a tuple of pseudonyms."""
    found: dict[str, set[str]] = {}
    for mac, _, pseudonym in _indexed(connection, macs):
        found.setdefault(mac, set()).add(pseudonym)
    return {mac: tuple(sorted(who)) for mac, who in sorted(found.items())}


def macs_of(connection: Connection, pseudonym: str) -> tuple[tuple[str, str], ...]:
    """Return the `(kind, mac)` pairs of a subject, for the suppression list."""
    query = select(subject_index.c.kind, subject_index.c.mac).where(subject_index.c.pseudonym == pseudonym)
    return tuple((row.kind, row.mac) for row in connection.execute(query.order_by("kind", "mac")))


def remove_subject(connection: Connection, pseudonym: str) -> int:
    """Delete a subject from the index and from every dataset's list, and return how many rows went."""
    gone = 0
    for table in (subject_index, dataset_subjects):
        gone += connection.execute(delete(table).where(table.c.pseudonym == pseudonym)).rowcount
    return gone


def _indexed(connection: Connection, macs: Sequence[str]) -> Iterable[tuple[str, str, str]]:
    unique = sorted(set(macs))
    for start in range(0, len(unique), 500):
        query = select(subject_index).where(subject_index.c.mac.in_(unique[start : start + 500]))
        for row in connection.execute(query):
            yield row.mac, row.kind, row.pseudonym


def _dataset(row: Row[Any]) -> Dataset:
    return Dataset(**row._asdict())
