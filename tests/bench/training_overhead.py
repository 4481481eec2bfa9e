"""What a scheduler adds to training, beside a bare script that trains the same: once for a job, and for each step.

Each way is run in a process of its own, some rounds in turn. What a step costs is read between the first and the last
of them; all else is what a job costs once. Five minutes of work are not run but worked out from these two.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from figures import Reading, median, read
from harness import Bench
from material import Row, write

MODES = ("bare", "inline", "ray")
WORK = 300.0  # seconds on the core, five minutes
BOUND = 1.10
SCRIPT = Path(__file__).with_name("overhead_run.py")
Run = dict[str, float]


@dataclass(frozen=True)
class Cost:
    """What a way of training costs: so much for a job, and so much for a step, in CPU-seconds."""

    fixed: float
    step: float

    @classmethod
    def of(cls, run: Run) -> Cost:
        """Return the cost that one run shows."""
        return cls(run["cpu"] - run["step"] * run["steps"], run["step"])

    def at(self, steps: float) -> float:
        """Return what so many steps cost."""
        return self.fixed + self.step * steps


def measure(bench: Bench, base: Path, rows: Sequence[Row], parameters: dict[str, Any], rounds: int) -> list[Reading]:
    """Run every way in turn, several times."""
    asked = _prepare(bench.empty("overhead"), base, rows) | {"seed": bench.run["seed"], "parameters": parameters}
    costs: dict[str, list[Cost]] = {mode: [] for mode in MODES}
    for number in range(1, rounds + 1):
        for mode in MODES:
            run = bench.once(f"train {mode}, round {number}", partial(_run, bench.work, asked | {"mode": mode}))
            costs[mode].append(Cost.of(run))
    return [reading for mode in MODES[1:] for reading in _readings(mode, costs["bare"], costs[mode])]


def _prepare(work: Path, base: Path, rows: Sequence[Row]) -> dict[str, Any]:
    """Put the base and the records into a store, and lay them out as files."""
    from amends.store import LocalBlobs, put_tree

    shutil.copytree(base, work / "base")
    blobs = LocalBlobs(work / "blobs")
    records = write(work / "records.jsonl", rows)
    return {
        "source": str(work / "base"), "tree": put_tree(blobs, work / "base"), "blobs": blobs.uri,
        "records": str(records), "records_digest": blobs.put_bytes(records.read_bytes()),
    }  # fmt: skip


def _run(work: Path, asked: dict[str, Any]) -> Run:
    output = work / "overhead" / "output"
    shutil.rmtree(output, ignore_errors=True)
    try:
        done = subprocess.run(
            [sys.executable, str(SCRIPT)], input=json.dumps(asked | {"output": str(output)}), text=True,
            check=True, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    finally:
        shutil.rmtree(output, ignore_errors=True)
    told: Run = json.loads(done.stdout.splitlines()[-1])
    return told


def _readings(mode: str, bare: Sequence[Cost], costs: Sequence[Cost]) -> list[Reading]:
    rounds = len(costs)
    step, steps = median([cost.step for cost in costs])
    fixed, fixes = median([cost.fixed for cost in costs])
    plain = Cost(median([cost.fixed for cost in bare])[0], median([cost.step for cost in bare])[0])
    enough = (WORK - plain.fixed) / plain.step
    whole, wholes = median([cost.at(enough) for cost in costs])
    return [
        read(f"{mode}: a step", step, "CPU-s", rounds, steps, baseline=plain.step, at_most=BOUND),
        read(f"{mode}: a job without its steps", fixed, "CPU-s", rounds, fixes, baseline=plain.fixed),
        read(f"{mode}: five minutes of work, worked out", whole, "CPU-s", rounds, wholes, baseline=WORK, at_most=BOUND),
    ]
