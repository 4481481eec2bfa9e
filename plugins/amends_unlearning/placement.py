"""Say in which shard and slice a record is trained: a pure function of whom it names.

Nobody's place depends on who else is there, so erasing a person moves no record of anybody else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from amends import BadInput


@dataclass(frozen=True, order=True)
class Place:
    """A slice of a shard; slices of a shard are trained in order, one on top of the other."""

    shard: int
    slice: int


@dataclass(frozen=True)
class Placement:
    """A way to spread data subjects over shards and slices.

    Args:
        salt: Makes this spread one of many; a rebuild keeps it.
        shards: How many adapters there are.
        slices: How many steps each adapter is trained in.
    """

    salt: str
    shards: int
    slices: int

    def __post_init__(self) -> None:
        """Refuse a spread over nothing.

        Raises:
            BadInput: There is no shard or no slice.
        """
        if self.shards < 1 or self.slices < 1:
            raise BadInput(f"{self.shards} shards of {self.slices} slices hold nothing; ask for one or more of both")

    def of(self, key: str) -> Place:
        """Return the place of a data subject's pseudonym, or of the id of a record that names nobody."""
        digest = hashlib.sha256(f"{self.salt}:{key}".encode()).digest()
        shard = int.from_bytes(digest[:8], "big") % self.shards
        return Place(shard, int.from_bytes(digest[8:16], "big") % self.slices)

    def of_record(self, row: Mapping[str, Any]) -> Place:
        """Return where a record is trained: whole, at the smallest place of the data subjects it names."""
        return min(self.of(key) for key in (row["subjects"] or [row["id"]]))
