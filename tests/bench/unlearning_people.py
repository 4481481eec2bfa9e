"""Who is forgotten, kept, never seen and withheld in the benchmark of unlearning."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from material import Row, prepared, raw_records, subjects_of
from unlearning_runs import People

FIRST = 7  # the seed that begins with the first author


def sizes(n: int | str | None) -> dict[str, int]:
    """Return how many people there are of each kind, and how many records each has."""
    people = 20 if n in (None, "full") else int(str(n))
    return {
        "forgotten": people,
        "few": 2,
        "retained": max(people - 2, 2),
        "many": 6,
        "never": people,
        "withheld": people,
    }


def choose(data: Path | None, size: dict[str, int], seed: int) -> People:
    """Return the people: of consecutive authors the first are forgotten, the next kept, then never seen, withheld.

    Raises:
        SystemExit: The data have no authors left for this seed.
    """
    withheld = size.get("withheld", 0)
    count = size["forgotten"] + size["retained"] + size["never"] + withheld
    skipped = 0 if data is None else (seed - FIRST) * count
    found = prepared(raw_records(data, max(skipped + count, 1), seed, size["many"]))
    rows = [row for row in found if len(row["subjects"]) == 1]
    whose = subjects_of(rows)[max(skipped, 0) :]
    if skipped < 0 or len(whose) < count:
        raise SystemExit(f"bench-unlearning: there are no {count} authors for seed {seed}; take {FIRST} or the next")
    first, second = size["forgotten"], size["forgotten"] + size["retained"]

    def of(some: Sequence[str], most: int) -> list[Row]:
        return [row for person in some for row in [r for r in rows if r["subjects"] == [person]][:most]]

    few, many = size["few"], size["many"]
    third = len(whose) - withheld
    return People(
        of(whose[:first], few), of(whose[first:second], many), of(whose[second:third], few), of(whose[third:], few)
    )
