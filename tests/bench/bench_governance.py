"""Measure what governing costs: judging by rules, comparing a registry with the ledger, promoting a version.

By default 1,000 rules, 1,000 versions beside 100, and 5 promotions, within 10 minutes on two idle cores.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import policy_speed
import promotion_speed
import registry_speed
from harness import Bench, options
from material import base_model


def sizes(n: int | str | None) -> dict[str, int]:
    """Return how many rules and versions there are, and how often each thing is repeated."""
    many = 1000 if n in (None, "full") else max(2, int(n or 0))
    return {"rules": many, "few": max(1, many // 10), "many": many, "repeats": 15 if n == "full" else min(5, many)}


def main(argv: Sequence[str] | None = None) -> Path:
    """Measure every part and return the file with the figures."""
    given = options("governance", str(__doc__), argv)
    size = sizes(given.n)
    bench = Bench("governance", given, size)
    tiny = base_model("tiny", bench.work / "tiny")
    bench.part("policy", lambda: policy_speed.measure(size["rules"], size["repeats"]))
    bench.part("reconciler", lambda: registry_speed.measure(bench, size["few"], size["many"], size["repeats"]))
    bench.part("promotion", lambda: promotion_speed.measure(bench, tiny, min(5, size["repeats"]), given.seed))
    return bench.finish()


if __name__ == "__main__":
    main()
