"""Keep erased people out of a workspace that comes back from before their erasure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from amends.errors import BadInput
from amends.governor.data.rows import blobs_of, opened, put_rows, rows_of, text_of
from amends.governor.upkeep.erased import Erased
from amends.governor.workspace import Workspace
from amends.ledger import aliases, datasets, lineage, people, suppression
from amends.ledger.actions import Action
from amends.ledger.datasets import Dataset, Membership
from amends.vault import subjects

if TYPE_CHECKING:
    from sqlalchemy import Connection

PREPARED = {"id", "prompt", "subjects"}  # what every line of prepared records has
LONGEST = 4_000_000  # bytes of a line; one that was registered is shorter
ACTOR = "restore"


@dataclass(frozen=True)
class Withheld:
    """What was kept out: how many records, of which data sets, and which versions learnt from them."""

    records: int
    datasets: tuple[str, ...]
    sealed: tuple[str, ...]
    sentences: tuple[str, ...]


@dataclass
class _Judge:
    """Tells whether a record names somebody who was erased; remembers whom it found, by pseudonym."""

    workspace: Workspace
    erased: Erased

    def __post_init__(self) -> None:
        self.hashes = {mac for _, mac, _ in self.erased.identifiers}
        self.found = set(self.erased.subjects)

    def names_erased(self, row: Mapping[str, Any]) -> bool:
        """Whether a record names one of them: as its subject, or anywhere in its text."""
        keyring = self.workspace.keyring
        for pseudonym, name in zip(row["subjects"], row.get("names", ()), strict=False):
            if self.hashes & {mac for _, mac in subjects.suppression_entries(keyring, {"name": (name,)})}:
                self.found.add(pseudonym)
        if self.found.intersection(row["subjects"]):
            return True
        return bool(self.hashes & subjects.text_macs(keyring, "suppression", text_of(row)))


def withhold(workspace: Workspace, erased: Erased) -> Withheld:
    """Apply a suppression list to a workspace that nobody uses yet; applied again, it changes nothing.

    Records that name an erased person go, from data sets and from whatever else holds records; versions that learnt
    from them are sealed, so that they answer nobody and no alias moves to them; keys that were destroyed are
    destroyed again, and people who were removed stay removed.
    """
    judge = _Judge(workspace, erased)
    with workspace.database.transaction() as connection:
        for case in sorted({case for _, _, case in erased.identifiers}):
            suppression.add(connection, [(kind, mac) for kind, mac, of in erased.identifiers if of == case], case)
        held = [dataset for dataset in datasets.find(connection) if dataset.status != "purged"]
    dropped, sealed, renamed = 0, [], {}
    for dataset in held:
        gone, fresh, versions = _withhold_from(workspace, judge, dataset)
        dropped += gone
        sealed += [version for version in versions if version not in sealed]
        if gone:
            renamed[dataset.name] = fresh
    dropped += _drop_loose_records(workspace, judge)
    _destroy_again(workspace, erased, judge.found)
    sentences = [
        f"{version} learnt from somebody who was erased after the backup and stays sealed; "
        "train its model again from the data set that is left, promote that, and prune this"
        for version in sealed
    ]
    return Withheld(dropped, tuple(sorted(renamed.values())), tuple(sealed), tuple(sentences))


def _withhold_from(workspace: Workspace, judge: _Judge, dataset: Dataset) -> tuple[int, str, list[str]]:
    """Write one data set again without them; return how many records went, its new name, and what was sealed."""
    rows = [list(rows_of(workspace, blob)) for blob in blobs_of(dataset)]
    train, control = ([row for row in part if not judge.names_erased(row)] for part in rows)
    gone = sum(map(len, rows)) - len(train) - len(control)
    if not gone:
        return 0, "", []
    old = blobs_of(dataset)
    blobs, sealed = (put_rows(workspace, train, like=old), put_rows(workspace, control, like=old)), []
    with workspace.database.transaction() as connection:
        if blobs[0] != dataset.digest:
            sealed = _seal(workspace, connection, dataset.digest)
            _enter(connection, judge, dataset, train, blobs)
            datasets.set_status(connection, dataset.digest, "purged")
        else:
            members = _members(connection, judge, dataset, train)
            counts = {"subjects": len(members), "controls": sum(member.is_control for member in members)}
            datasets.set_control(connection, dataset.digest, blobs[1], **counts)
        body = {"old": dataset.digest, "new": blobs[0], "control": blobs[1], "records": gone}
        workspace.record(connection, f"restore:data:{dataset.digest}", Action.SUPPRESSED_DROPPED, body, ACTOR)
    for blob in {*blobs_of(dataset)} - {*blobs}:
        workspace.blobs.delete(blob)
    return gone, f"{dataset.name}@{blobs[0][:12]}", sealed


def _seal(workspace: Workspace, connection: Connection, dataset: str) -> list[str]:
    """Seal what learnt from a data set, and take MLflow's aliases away from it."""
    versions = {
        (found.model, found.number): found
        for version in lineage.versions_trained_on(connection, [dataset])
        for found in (version, *lineage.descendants(connection, version.digest))
        if found.status != "purged"
    }
    for version in versions.values():
        lineage.set_status(connection, version.model, version.number, "sealed")
        body = {"model": version.model, "version": version.number, "digest": version.digest}
        workspace.record(connection, f"restore:seal:{version.name}", Action.MODEL_SEALED, body, ACTOR)
        for alias, number in aliases.aliases_of(connection, version.model).items():
            if number == version.number and version.mlflow_version is not None:
                # plain MLflow clients find nothing then, rather than a version that holds an erased person
                workspace.registry.drop_alias(version.model, alias, number)
    return [str(version.name) for _, version in sorted(versions.items())]


def _enter(
    connection: Connection, judge: _Judge, old: Dataset, train: list[dict[str, Any]], blobs: tuple[str, str]
) -> None:
    """Register the data set that is left, unless it is empty or registered already."""
    known = {dataset.digest for dataset in datasets.find(connection)}
    if not train or blobs[0] in known:
        return
    members = _members(connection, judge, old, train)
    fresh = replace(
        old,
        digest=blobs[0],
        parent=old.digest,
        records=len(train),
        subjects=len(members),
        controls=sum(member.is_control for member in members),
        settings={**old.settings, "control": blobs[1]},
        source_digest=None,
        raw_digest=None,
    )
    datasets.register(connection, fresh, members)


def _members(
    connection: Connection, judge: _Judge, old: Dataset, train: Iterable[Mapping[str, Any]]
) -> list[Membership]:
    counts: dict[str, int] = {}
    for row in train:
        for pseudonym in row["subjects"]:
            counts[pseudonym] = counts.get(pseudonym, 0) + 1
    withheld = {member.pseudonym for member in datasets.subjects_of(connection, old.digest) if member.is_control}
    kept = withheld - set(counts) - judge.found
    return [
        *(Membership(who, count, False) for who, count in sorted(counts.items())),
        *(Membership(who, 0, True) for who in sorted(kept)),
    ]


def _drop_loose_records(workspace: Workspace, judge: _Judge) -> int:
    """Delete blobs of records that no data set names: what a case was about to forget, what a crash left."""
    with workspace.database.read() as connection:
        named = {blob for found in datasets.find(connection) if found.status != "purged" for blob in blobs_of(found)}
    dropped = 0
    for digest in [digest for digest in workspace.blobs.digests() if digest not in named]:
        if not _holds_records(opened(workspace, workspace.blobs.get(digest))):
            continue
        hits = sum(judge.names_erased(row) for row in rows_of(workspace, digest))
        if hits:
            workspace.blobs.delete(digest)
            dropped += hits
    return dropped


def _holds_records(data: bytes) -> bool:
    """Whether bytes are prepared records, as their first line tells."""
    line = data[:LONGEST].partition(b"\n")[0]
    try:
        value = json.loads(line) if line.startswith(b'{"') else None
    except ValueError:
        return False
    return isinstance(value, dict) and value.keys() >= PREPARED


def _destroy_again(workspace: Workspace, erased: Erased, pseudonyms: Iterable[str]) -> None:
    """Forget the subjects in the index, destroy the keys that were destroyed, and remove who was removed."""
    with workspace.database.transaction() as connection:
        for pseudonym in sorted(pseudonyms):
            datasets.remove_subject(connection, pseudonym)
        for person in erased.people:
            try:
                people.remove(connection, person)
            except BadInput:  # they came and went after the backup
                continue
    for case in erased.case_keys:
        workspace.keyring.destroy_case_key(case)
    workspace.database.vacuum()
