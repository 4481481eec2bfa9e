"""Train once, in one of three ways: as a bare script would, or as a job of the inline scheduler or of Ray.

Run as a script: it reads what to do from standard input and writes CPU-seconds, of the process and of all that it
started: `cpu` up to the moment when the training is done, and `step` for one step of it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from time import monotonic, process_time
from typing import Any

SECONDS = 1.0  # between two looks at the clock
TICKS = os.sysconf("SC_CLK_TCK")
OPERATION = "training.shards"


def bare(asked: dict[str, Any], report: Any) -> None:
    """Call the training function as it stands, on files as they lie."""
    import torch

    from amends import Records, Task
    from amends_unlearning import train_shards

    torch.set_num_threads(1)
    output = Path(asked["output"])
    output.mkdir(parents=True)
    records = Records(asked["records_digest"], Path(asked["records"]))
    task = Task(output, asked["seed"], source=Path(asked["source"]), source_digest=asked["tree"], output=output)
    task.report = report
    train_shards(task, **train_shards.check({**asked["parameters"], "records": records}))


def scheduled(asked: dict[str, Any], report: Any) -> Any:
    """Run the training as a job, with an empty cache, and return the scheduler, still open."""
    from amends import host
    from amends.scheduler import Job, open_scheduler

    scheduler = open_scheduler(asked["mode"], Path(asked["output"]) / "cache", {"cpus": 2, "gpus": 0})
    job = Job(
        id="bench", kind="operation", name=OPERATION, blobs_uri=asked["blobs"], parameters=asked["parameters"],
        plugin_version=host.current().source_of(OPERATION).version, records={"records": asked["records_digest"]},
        source=asked["tree"], seed=asked["seed"], cpus=1, memory_gb=3.0, state_key="5a" * 32,
    )  # fmt: skip
    scheduler.submit(job, report).result()
    return scheduler


def cpu_seconds() -> float:
    """Return the CPU-seconds of this process and of all its descendants, alive or waited for."""
    stats = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = file.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        stats[int(file.parent.name)] = int(fields[1]), sum(map(int, fields[11:15])) / TICKS
    family = {os.getpid()}
    while more := {pid for pid, (parent, _) in stats.items() if parent in family} - family:
        family |= more
    return sum(stats[pid][1] for pid in family)


class Steps:
    """Hears of steps, and notes now and then what they have cost; Ray tells with a delay, and not of every step."""

    def __init__(self, elsewhere: bool) -> None:
        self.clock = cpu_seconds if elsewhere else process_time
        self.points: list[tuple[int, float]] = []
        self.total, self.told = 0, 0.0

    def report(self, done: int, total: int, message: str) -> None:
        """Hear that so many steps are done."""
        self.total = total
        if done and (done == total - 1 or monotonic() - self.told > SECONDS):
            self.points.append((done, self.clock()))
            self.told = monotonic()

    @property
    def step(self) -> float:
        """What a step costs, between the first and the last that was heard of."""
        (first, began), (last, ended) = self.points[0], self.points[-1]
        return (ended - began) / (last - first)


def main() -> None:
    """Do what standard input asks for."""
    asked = json.load(sys.stdin)
    steps = Steps(elsewhere=asked["mode"] == "ray")
    scheduler = bare(asked, steps.report) if asked["mode"] == "bare" else scheduled(asked, steps.report)
    told = {"cpu": cpu_seconds(), "steps": steps.total, "step": steps.step}
    if scheduler is not None:
        scheduler.close()
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
