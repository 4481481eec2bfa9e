"""Try the audit's drill on a model before any training, after one that plants canaries, and after an erasure.

Run as a script: `python tests/bench/drill_runs.py FOLDER [--model tiny] [--training training.shards]
[--operation unlearning.npo]`; what is in the folder already is not made again. Out of shards nothing is erased
approximately, so there the drill ends with the training.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from material import Row, base_model, prepared, raw_records, subjects_of
from unlearning_runs import opened, run

from amends import ProbeTask, Reading, host
from amends.records import canonical_json
from amends.scheduler.steady import steady

SHARDS: Mapping[str, Any] = {"placement_salt": "5a17", "router_salt": "c0ffee", "shards": 4, "slices": 2}
TRAINING: Mapping[str, Mapping[str, Any]] = {
    "training.finetune": {"placement_salt": "5a17", "steps": 16, "canaries": 8},
    "training.shards": {**SHARDS, "canaries_per_shard": 2},
}
TINY: Mapping[str, Any] = {"layers": 1, "rank": 4, "epochs": 2}


def recorded(version: Path, steps: Sequence[Mapping[str, Any]]) -> Path:
    """Write the recipe of a version that was made outside a workspace."""
    (version / "recipe.json").write_bytes(canonical_json({"steps": list(steps)}))
    return version


def drilled(version: Path, base: Path) -> tuple[list[Reading], float]:
    """Read the drill on a version beside the base, and how many CPU-seconds that took."""
    models = {path: opened(path) for path in {version, base}}
    probe = host.load().probe("unlearning.drill")
    with steady(1, 7, True):
        began = time.process_time()
        task = ProbeTask(version, 7, model_path=version, reference_path=base, open_model=models.__getitem__)
        return list(probe(task)), time.process_time() - began


def show(title: str, found: tuple[list[Reading], float]) -> None:
    """Print one line for each reading."""
    lines = [f"{title} ({found[1]:.0f} CPU-seconds)"]
    for reading in found[0]:
        interval = "" if reading.low is None else f"  [{reading.low:.3f}, {reading.high:.3f}]"
        lines.append(f"  {reading.name.rpartition('/')[2]:24}{reading.value:8.3f}{interval}  n = {reading.n}")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Train, erase one person, and try the drill on each version."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--training", choices=sorted(TRAINING), default="training.finetune")
    parser.add_argument("--operation", default="unlearning.revert")
    parser.add_argument("--people", type=int, default=6)
    given = parser.parse_args()
    small = dict(TINY) if given.model == "tiny" else {}
    base = base_model(given.model, given.folder / given.model)
    show("before training", drilled(base, base))

    rows: list[Row] = [row for row in prepared(raw_records(None, given.people, 3, 4)) if len(row["subjects"]) == 1]
    settings = {**TRAINING[given.training], **small}
    trained = given.folder / given.training
    spent = run(given.training, base, trained, {"records": rows}, **settings)
    learnt = {"operation": given.training, "parameters": settings}
    show(f"{given.training} ({spent:.0f} CPU-seconds)", drilled(recorded(trained, [learnt]), base))
    if given.training == "training.shards":
        return

    gone = subjects_of(rows)[0]
    sides = {"forget": [row for row in rows if row["subjects"] == [gone]]}
    sides["retain"] = [row for row in rows if row["subjects"] != [gone]]
    erased = given.folder / given.operation
    spent = run(given.operation, trained, erased, sides, models={"reference": base}, **small)
    steps = [learnt, {"operation": given.operation, "parameters": {}}]
    show(f"{given.operation} ({spent:.0f} CPU-seconds)", drilled(recorded(erased, steps), base))


if __name__ == "__main__":
    main()
