"""Lay records out over shards and slices, and name each state of training by a chain of digests."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amends import BadRecords
from amends.operation.files import weights_directory
from amends.records import digest_of

from .canaries import canary_rows
from .placement import Placement

Row = Mapping[str, Any]
NEEDED = {"id": str, "prompt": str, "answer": str, "subjects": list}


@dataclass(frozen=True)
class Slice:
    """One step of a shard's training.

    Args:
        index: Its number in the shard.
        rows: Its records in the order of their ids.
        digest: Of its records. Their ids are keyed, so it tells nothing to whoever lacks them.
        chain: Of the base, the settings and this shard's slices up to this one: equal chains, equal adapters.
    """

    index: int
    rows: tuple[Row, ...] = field(repr=False)
    digest: str
    chain: str


@dataclass(frozen=True)
class Shard:
    """The slices of one shard that hold records, in order."""

    index: int
    slices: tuple[Slice, ...]

    @property
    def chain(self) -> str:
        """What the finished adapter's training is named by; empty when there is nothing to train."""
        return self.slices[-1].chain if self.slices else ""

    @property
    def rows(self) -> tuple[Row, ...]:
        """Every record of the shard, in order of slice and id."""
        return tuple(row for part in self.slices for row in part.rows)


def lay_out(rows: Iterable[Row], placement: Placement, canaries: int, root: Mapping[str, Any]) -> tuple[Shard, ...]:
    """Return every shard's slices, with `canaries` planted people in each shard.

    Args:
        rows: Prepared records; their order does not matter.
        placement: Says where each record goes.
        canaries: How many people to plant in each shard.
        root: Everything else that the adapters depend on; it begins each chain.

    Raises:
        BadRecords: A row lacks something, or two rows have one id.
    """
    places = defaultdict(list)
    for row in [*checked(rows), *canary_rows(placement, canaries)]:
        places[placement.of_record(row)].append(row)
    shards = []
    for shard in range(placement.shards):
        here = sorted(place for place in places if place.shard == shard)
        chain, slices = digest_of({"root": dict(root), "shard": shard}), []
        for place in here:
            part = tuple(sorted(places[place], key=lambda row: str(row["id"])))
            digest = digest_of([[row["id"], row["prompt"], row["answer"]] for row in part])
            chain = digest_of([chain, place.slice, digest])
            slices.append(Slice(place.slice, part, digest, chain))
        shards.append(Shard(shard, tuple(slices)))
    return tuple(shards)


def checked(rows: Iterable[Row]) -> list[Row]:
    """Return the rows, each found whole and with an id of its own.

    Raises:
        BadRecords: One is not; the sentence names its line.
    """
    seen: set[str] = set()
    found = []
    for number, row in enumerate(rows, start=1):
        for name, kind in NEEDED.items():
            if not isinstance(row.get(name), kind):
                raise BadRecords(f"record {number} has no {name} of type {kind.__name__}; prepare the records again")
        if row["id"] in seen:
            raise BadRecords(f"record {number} has the id of an earlier record; prepare the records again")
        seen.add(row["id"])
        found.append(row)
    return found


def base_digest(version: Path) -> str:
    """Return a digest of the files of the base model that a version stands on, wherever they lie."""
    directory = weights_directory(version)
    files = sorted(file for file in directory.rglob("*") if file.is_file())
    return digest_of({file.relative_to(directory).as_posix(): _file_digest(file) for file in files})


def _file_digest(file: Path) -> str:
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()
