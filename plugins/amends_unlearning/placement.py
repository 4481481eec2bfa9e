"""Say in which shard and slice a record is trained: a pure function of whom it names and how likely they are to ask.

Nobody's place depends on who else is there, so erasing a person moves no record of anybody else.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from amends import BadInput, BadRecords

RATE = "ask_rate"


@dataclass(frozen=True, order=True)
class Place:
    """A slice of a shard; slices of a shard are trained in order, one on top of the other."""

    shard: int
    slice: int


@dataclass(frozen=True)
class Placement:
    """A way to spread data subjects over shards and slices.

    Who is likely to ask for erasure goes into the last slice of a shard, after which nothing has to be trained again,
    or, where shards are reserved for them, anywhere in those.

    Args:
        salt: Makes this spread one of many; a rebuild keeps it.
        shards: How many adapters there are.
        slices: How many steps each adapter is trained in.
        hot_shards: How many of the shards, the last, are for those alone who are likely to ask.
        hot_rate: From how many requests a year on somebody is likely to ask.
    """

    salt: str
    shards: int
    slices: int
    hot_shards: int = 0
    hot_rate: float = 0.1

    def __post_init__(self) -> None:
        """Refuse a spread over nothing.

        Raises:
            BadInput: There is no shard or no slice, or no shard for everybody else.
        """
        if self.shards < 1 or self.slices < 1:
            raise BadInput(f"{self.shards} shards of {self.slices} slices hold nothing; ask for one or more of both")
        if not 0 <= self.hot_shards < self.shards:
            raise BadInput(
                f"hot_shards is {self.hot_shards} of {self.shards} shards; leave at least one for the others"
            )
        if not self.hot_rate > 0:
            raise BadInput(f"hot_rate is {self.hot_rate}; give it as requests a year, above zero")

    def of(self, key: str, is_hot: bool = False) -> Place:
        """Return the place of a data subject's pseudonym, or of the id of a record that names nobody."""
        digest = hashlib.sha256(f"{self.salt}:{key}".encode()).digest()
        shard, part = (int.from_bytes(some, "big") for some in (digest[:8], digest[8:16]))
        others = self.shards - self.hot_shards
        if is_hot and self.hot_shards:
            return Place(others + shard % self.hot_shards, part % self.slices)
        return Place(shard % others, self.slices - 1 if is_hot else part % self.slices)

    def of_record(self, row: Mapping[str, Any]) -> Place:
        """Return where a record is trained: whole, at the smallest place of the data subjects it names."""
        is_hot = rate_of(row) >= self.hot_rate
        return min(self.of(key, is_hot) for key in (row["subjects"] or [row["id"]]))


def rate_of(row: Mapping[str, Any]) -> float:
    """Return how many requests a year are expected about a record; none, where it does not say.

    Raises:
        BadRecords: It says something else.
    """
    rate = row.get(RATE, 0.0)
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not (math.isfinite(rate) and rate >= 0):
        raise BadRecords(f"a record has an {RATE} that is no number of requests a year; prepare the records again")
    return float(rate)
