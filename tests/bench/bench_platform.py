"""Measure what the platform adds: to training, to an audit log, to a list of cases, to many requests, to a start.

By default 10,000 audit entries and cases, 25 requests in a batch beside 3 one by one, and 3 rounds of training
through each scheduler: within 30 minutes on two idle cores. `full` has 100 requests both ways, and 5 rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ledger_speed
import processes
import request_batches
import training_overhead
from harness import Bench, options
from material import base_model, prepared, raw_records

TRAINING = {
    "placement_salt": "5a17", "router_salt": "c0ffee", "shards": 1, "slices": 1, "layers": 4, "batch": 2, "epochs": 8,
    "canaries_per_shard": 0,
}  # fmt: skip


def sizes(n: int | str | None) -> dict[str, Any]:
    """Return how many there are of each, for the default, a number of entries and cases, or `full`."""
    many = 10_000 if n in (None, "full") else int(n or 0)
    batch = max(2, min(25, many // 100))
    few = {"entries": many, "batch": batch, "alone": min(3, batch), "rounds": 3, "repeats": 7 if many >= 1000 else 3}
    return few | {"batch": 100, "alone": 100, "rounds": 5} if n == "full" else few


def main(argv: Sequence[str] | None = None) -> Path:
    """Measure every part and return the file with the figures."""
    given = options("platform", str(__doc__), argv)
    size = sizes(given.n)
    bench = Bench("platform", given, size | {"training": TRAINING})
    base, tiny = (base_model(name, bench.work / name) for name in (given.model, "tiny"))
    trained = TRAINING if base != tiny else TRAINING | {"layers": 1, "epochs": 60}
    rows = prepared(raw_records(given.data, 8, given.seed, 3))
    bench.part("help", lambda: processes.help_screen(size["repeats"]))
    bench.part("audit", lambda: ledger_speed.audit_log(bench, size["entries"]))
    bench.part("cases", lambda: ledger_speed.case_list(bench, size["entries"], size["repeats"]))
    bench.part("overhead", lambda: training_overhead.measure(bench, base, rows, trained, size["rounds"]))
    bench.part("batch", lambda: request_batches.measure(bench, tiny, size["batch"], size["alone"], given.seed))
    return bench.finish()


if __name__ == "__main__":
    main()
