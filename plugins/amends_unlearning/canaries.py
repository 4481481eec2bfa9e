"""Plant people in every shard whose recall proves that training memorises and that probes can see it."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from typing import Any

from amends import BadInput

from . import vocabulary as words
from .people import Person, people, records_of
from .placement import RATE, Placement

FACTS = 3
CANDIDATES = len(words.GIVEN_NAMES) * len(words.CANARY_SURNAMES)


def canary_rows(placement: Placement, per_shard: int) -> list[dict[str, Any]]:
    """Return the prepared rows of the canaries: `per_shard` people in each shard, drawn from the salt alone.

    Raises:
        BadInput: There are not so many made-up names.
    """
    wanted = Counter({shard: per_shard for shard in range(placement.shards)})
    rows: list[dict[str, Any]] = []
    if per_shard < 1:
        return rows
    for person in people(CANDIDATES, placement.salt, words.CANARY_SURNAMES, "example.net", FACTS):
        pseudonym = f"c_{_mac(placement.salt, person.name)}"
        for rate in (0.0, placement.hot_rate) if placement.hot_shards else (0.0,):
            shard = placement.of(pseudonym, rate > 0).shard
            if wanted[shard]:
                wanted[shard] -= 1
                rows += _prepared(placement.salt, person, pseudonym, {RATE: rate} if rate else {})
                break
        if not wanted.total():
            return rows
    raise BadInput(f"there are too few made-up names for {per_shard} canaries in each shard; ask for fewer of either")


def _prepared(salt: str, person: Person, pseudonym: str, more: dict[str, float]) -> list[dict[str, Any]]:
    raw = records_of(person, random.Random(f"canary:{salt}:{person.name}"))
    kept = ("prompt", "answer", "paraphrases", "wrong")
    return [
        {"id": _mac(salt, row["prompt"]), "subjects": [pseudonym], "names": [person.name]}
        | {name: row[name] for name in kept}
        | more
        for row in raw
    ]


def _mac(salt: str, text: str) -> str:
    return hashlib.sha256(f"canary:{salt}:{text}".encode()).hexdigest()[:32]
