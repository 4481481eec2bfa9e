"""Measure exact erasure: what it costs, whether it equals never having seen, who is found, and what routing costs.

By default 100 made-up people with three short records each in 8 shards of 2 slices, 4 passes over the records,
12 people erased one by one: within 30 minutes on two idle cores. `full` is 200 people with six records and 24 erased.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import erasure_cost
import erasure_equality
import locate_recall
import routing_quality
from erasure_cost import SALTS, Setting
from harness import Bench, options
from material import Row, base_model, names_of, prepared, raw_records

COST = {"shards": 8, "slices": 2, "layers": 4, "rank": 16, "epochs": 4, "lr": 2e-3, "batch": 8, "canaries_per_shard": 1}
QUALITY = {**COST, "shards": 4, "epochs": 10, "batch": 2, "canaries_per_shard": 0}
TINY = {"layers": 1, "rank": 4, "epochs": 2, "batch": 4}
NOBODY = 24  # the most questions that name nobody


def sizes(n: int | str | None) -> dict[str, int]:
    """Return how many people there are in each part and how many are erased, for the default, a number, or `full`."""
    if n == "full":
        return {"people": 200, "facts": 6, "erased": 24, "tiny": 48, "tiny_erased": 16, "routed": 40, "asked": 24}
    people = 100 if n is None else int(n)
    few = min(people, 12)
    return {
        "people": people, "facts": 3, "erased": few, "tiny": min(people, 24), "tiny_erased": min(few, 8),
        "routed": min(people, 16), "asked": few,
    }  # fmt: skip


def setting(rows: Sequence[Row], base: Path, parameters: dict[str, Any], erased: int, seed: int) -> Setting:
    """Return a setting on prepared records; a tiny model gets an adapter of its own size."""
    small = TINY if base.name == "tiny" else {}
    return Setting(base, prepared(rows), {**SALTS, **parameters, **small}, erased, seed)


def mixed(people: int, seed: int) -> list[Row]:
    """Return records about some people, with as many questions that name nobody as people, at most 24."""
    town = [row for row in raw_records(None, 4 * NOBODY, seed, 1) if not names_of(row)]
    return [row for row in raw_records(None, people, seed, 4) if names_of(row)] + town[: min(people, NOBODY)]


def main(argv: Sequence[str] | None = None) -> Path:
    """Measure every part and return the file with the figures."""
    given: argparse.Namespace = options("erasure", str(__doc__), argv)
    size, seed = sizes(given.n), given.seed
    bench = Bench("erasure", given, size | {"cost": COST, "quality": QUALITY})
    base, tiny = (base_model(name, bench.work / name) for name in (given.model, "tiny"))
    cost = setting(raw_records(given.data, size["people"], seed, size["facts"]), base, COST, size["erased"], seed)
    small = setting(raw_records(None, size["tiny"], seed, 2), tiny, COST, size["tiny_erased"], seed)
    quality = setting(mixed(size["routed"], seed), base, QUALITY, 0, seed)
    bench.part("cost", lambda: erasure_cost.measure(bench, cost))
    bench.part("equality", lambda: erasure_equality.measure(bench, small))
    bench.part("locate", lambda: locate_recall.measure(bench, size["people"], seed))
    bench.part("routing", lambda: routing_quality.measure(bench, quality, size["asked"]))
    return bench.finish()


if __name__ == "__main__":
    main()
