"""Find a data subject: through the keyed index, and through the text of every registered record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from amends.governor.data.rows import blobs_of, rows_of, text_of
from amends.governor.workspace import Workspace
from amends.ledger import datasets, inventory, lineage
from amends.ledger.datasets import Dataset
from amends.ledger.lineage import Version
from amends.records import Disclosure
from amends.store.trees import fetch_manifest
from amends.vault import subjects
from amends.vault.identifiers import Finder


@dataclass(frozen=True)
class Located:
    """Where a subject is, by keyed ids and digests; holds no text.

    Args:
        pseudonyms: Whom the identifiers belong to in the index; more than one if people share an identifier.
        agreeing: How many of the given identifiers the index knows for the subject.
        records: Ids of the records that name the subject, by data set.
        near: Record, data set and score in percent of what may name the subject, for a person to decide.
        searched: Every data set that was read.
    """

    pseudonyms: tuple[str, ...]
    agreeing: int
    records: Mapping[str, tuple[str, ...]]
    near: tuple[tuple[str, str, int], ...] = field(default=())
    searched: tuple[str, ...] = field(default=())

    @property
    def is_empty(self) -> bool:
        """Whether no record names the subject, nor may; the index can still know them from records that are gone."""
        return not self.records and not self.near


def locate(workspace: Workspace, disclosure: Disclosure) -> Located:
    """Find a subject in every data set that is registered and not purged."""
    with workspace.database.read() as connection:
        alive = [found for found in datasets.find(connection) if found.status != "purged"]
    return locate_in(workspace, disclosure, alive)


def locate_in(workspace: Workspace, disclosure: Disclosure, alive: Sequence[Dataset]) -> Located:
    """Find a subject in these data sets."""
    entries = subjects.index_entries(workspace.keyring, disclosure.identifiers)
    with workspace.database.read() as connection:
        known = datasets.lookup(connection, [mac for _, mac in entries])
    pseudonyms, agreeing = _whose(workspace, disclosure, known)
    finder = Finder(disclosure.identifiers)
    records: dict[str, tuple[str, ...]] = {}
    near: list[tuple[str, str, int]] = []
    for place, dataset in enumerate(alive, start=1):
        workspace.bar(place, len(alive), "reading the registered records")
        ids, maybe = _search(workspace, dataset, finder, set(pseudonyms))
        if ids:
            records[dataset.digest] = tuple(ids)
        near += maybe
    searched = tuple(sorted(dataset.digest for dataset in alive))
    return Located(pseudonyms, agreeing, records, tuple(near), searched)


def _whose(
    workspace: Workspace, disclosure: Disclosure, known: Mapping[str, tuple[str, ...]]
) -> tuple[tuple[str, ...], int]:
    """Return the pseudonyms that every known identifier agrees on, and how many identifiers agree."""
    votes: list[set[str]] = []
    for kind, values in disclosure.identifiers.items():
        for value in values:
            macs = [mac for _, mac in subjects.index_entries(workspace.keyring, {kind: (value,)})]
            found = {pseudonym for mac in macs for pseudonym in known.get(mac, ())}
            if found:
                votes.append(found)
    if not votes:
        return (), 0
    common = set.intersection(*votes)
    return (tuple(sorted(common)), len(votes)) if common else (tuple(sorted(set.union(*votes))), 1)


def _search(
    workspace: Workspace, dataset: Dataset, finder: Finder, pseudonyms: set[str]
) -> tuple[list[str], list[tuple[str, str, int]]]:
    ids, near = [], []
    for blob in blobs_of(dataset):
        for row in rows_of(workspace, blob):
            match = finder.find(text_of(row))
            if match.exact or pseudonyms.intersection(row["subjects"]):
                ids.append(row["id"])
            elif match.near is not None:
                near.append((row["id"], dataset.digest, round(match.near)))
    return ids, near


@dataclass(frozen=True)
class Reach:
    """Everything that holds a subject because a data set held them."""

    versions: tuple[Version, ...]
    state: int
    recipients: tuple[str, ...]
    stores: Mapping[str, int]
    bytes: int


def reach(workspace: Workspace, located: Located, disclosure: Disclosure) -> Reach:
    """Follow the lineage from data sets to versions, their state, exports and the plugins' stores."""
    with workspace.database.read() as connection:
        held = lineage.tainted_by(connection, list(located.records))
    stores = {
        store.name: sum(finding.count for finding in store.locate(disclosure))
        for store in workspace.host.stores(workspace)
    }
    return reach_of(workspace, tuple(version for version in held if str(version.status) != "purged"), stores)


def reach_of(workspace: Workspace, versions: tuple[Version, ...], stores: Mapping[str, int]) -> Reach:
    """Return what holds a subject because these versions do: their state, and what of them was handed out."""
    with workspace.database.read() as connection:
        state = sum(len(inventory.state_of(connection, version.digest)) for version in versions)
        told = inventory.recipients_of(connection, [version.digest for version in versions])
    size = sum(fetch_manifest(workspace.blobs, version.digest).size for version in versions)
    return Reach(versions, state, tuple(f"{r.what} {r.where_digest[:12]}" for r in told), stores, size)


def learnt_from(workspace: Workspace, located: Located, marks: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return the data sets whose training records change; in others the subject was only withheld.

    Args:
        workspace: Where they are.
        located: Where the subject is.
        marks: How each near miss was decided, by record id: `mark` and `dataset`.
    """
    going = {digest: set(ids) for digest, ids in located.records.items()}
    for record, decided in marks.items():
        if decided["mark"] in ("erase", "redact"):
            going.setdefault(decided["dataset"], set()).add(record)
    with workspace.database.read() as connection:
        train = {digest: blobs_of(datasets.get(connection, digest))[0] for digest in sorted(going)}
    return [d for d, blob in train.items() if any(row["id"] in going[d] for row in rows_of(workspace, blob))]
