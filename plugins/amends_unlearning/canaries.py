"""Plant people in every shard whose recall proves that training memorises and that probes can see it.

Their sisters come from the same generator by another draw, and no training ever sees them.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from amends import BadInput

from . import vocabulary as words
from .people import Person, people, records_of
from .placement import RATE, Placement

FACTS = 3
PREFIX = "c_"  # of a canary's pseudonym; a data subject's begins otherwise
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
    for person in _candidates(placement.salt):
        pseudonym = _pseudonym(placement.salt, person)
        for rate in (0.0, placement.hot_rate) if placement.hot_shards else (0.0,):
            shard = placement.of(pseudonym, rate > 0).shard
            if wanted[shard]:
                wanted[shard] -= 1
                rows += _prepared(placement.salt, person, pseudonym, {RATE: rate} if rate else {})
                break
        if not wanted.total():
            return rows
    raise BadInput(f"there are too few made-up names for {per_shard} canaries in each shard; ask for fewer of either")


def finetune_canaries(salt: str, count: int) -> list[dict[str, Any]]:
    """Return the records of the canaries of a fine-tune, which has one place for everybody."""
    return canary_rows(Placement(salt, 1, 1), count)


def sister_rows(salt: str, count: int, others: Collection[str] = ()) -> list[dict[str, Any]]:
    """Return the prepared rows of people like the canaries of a salt, whom nobody trains on.

    Args:
        salt: The canaries'; empty where there are none.
        count: How many sisters.
        others: Names that none of them may have.

    Raises:
        BadInput: There are not so many made-up names.
    """
    drawn = f"never trained:{salt}"
    found = [person for person in _candidates(drawn) if person.name not in others][:count]
    if len(found) < count:
        raise BadInput(f"there are too few made-up names for {count} sisters of the canaries; ask for fewer")
    return [row for person in found for row in _prepared(drawn, person, _pseudonym(drawn, person), {})]


def is_canary(row: Mapping[str, Any]) -> bool:
    """Whether a record is about a canary."""
    return any(str(subject).startswith(PREFIX) for subject in row["subjects"])


def _candidates(salt: str) -> list[Person]:
    return people(CANDIDATES, salt, words.CANARY_SURNAMES, "example.net", FACTS)


def _pseudonym(salt: str, person: Person) -> str:
    return f"{PREFIX}{_mac(salt, person.name)}"


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
