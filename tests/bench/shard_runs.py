"""Run training in shards, or erasure from it, and say what its training took apart from all else.

Run as a script it reads jobs from standard input and runs each in a child that never had any other job's records.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from harness import stopwatch

BASE_DIGEST = "0" * 64  # in place of the base's tree digest: the weights are kept by reference
CHECKPOINTS = "shards/"


@dataclass
class FolderState:
    """State in a folder, that notes when the last checkpoint of a slice came."""

    folder: Path
    trained: tuple[float, float] = (0.0, 0.0)

    def names(self) -> tuple[str, ...]:
        """Return the names of the blobs, sorted."""
        return tuple(sorted(p.relative_to(self.folder).as_posix() for p in self.folder.rglob("*") if p.is_file()))

    def get(self, name: str) -> bytes:
        """Return one blob's bytes."""
        return (self.folder / name).read_bytes()

    def put(self, name: str, data: bytes) -> None:
        """Keep a blob."""
        if name.startswith(CHECKPOINTS):
            self.trained = (process_time(), perf_counter())
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_bytes(data)

    def drop(self, name: str) -> None:
        """Forget a blob."""
        (self.folder / name).unlink(missing_ok=True)


@dataclass
class Clock:
    """When training was first heard of, and how many steps there are."""

    began: tuple[float, float] = field(default_factory=lambda: (process_time(), perf_counter()))
    first: tuple[float, float] = (0.0, 0.0)
    steps: int = 0

    def report(self, done: int, total: int, message: str) -> None:
        """Hear of progress; the first report comes once the model is loaded."""
        if not self.first[0]:
            self.first, self.steps = (process_time(), perf_counter()), total


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Run one operation in this process.

    Args:
        job: `operation`, `source`, `output`, `records` (a file), `state` (a folder), `parameters`, `seed`, and
            `parent_state`, the folder whose checkpoints it may use, where there is one.

    Returns:
        CPU-seconds of `start`, `training` (activations below the adapted layers, projectors and steps) and `rest`
        (router, files), `wall` seconds of training, `steps`, and the digest of the served version.
    """
    import amends_unlearning
    from amends import Records, Task
    from amends.scheduler.steady import steady

    source, output, state = Path(job["source"]), Path(job["output"]), FolderState(Path(job["state"]))
    declared = {"train": amends_unlearning.train_shards, "unlearn": amends_unlearning.unlearn_shards}[job["operation"]]
    given = declared.check({**job["parameters"], "records": Records("", Path(job["records"]))})
    for folder in (output, state.folder):
        shutil.rmtree(folder, ignore_errors=True)  # what an interrupted run left would be reused
        folder.mkdir(parents=True)
    if "parent_state" in job:
        shutil.copytree(job["parent_state"], state.folder, dirs_exist_ok=True)
    with steady(1, job["seed"], True):
        clock = Clock()
        task = Task(output, job["seed"], source=source, source_digest=BASE_DIGEST, output=output, state=state)
        task.report = clock.report
        declared(task, **given)
        ended = process_time()
    link_base(source, output)
    first, last = (clock.first, state.trained) if clock.steps else (clock.began, clock.began)
    return {
        "start": first[0] - clock.began[0], "training": last[0] - first[0], "rest": ended - last[0],
        "wall": last[1] - first[1], "steps": clock.steps, "digest": served_digest(output),
    }  # fmt: skip


def link_base(source: Path, output: Path) -> None:
    """Put the base beside a version that only refers to it, as a node's cache does."""
    base = source / "base" if (source / "base").exists() else source / "model"
    (output / "base").unlink(missing_ok=True)
    (output / "base").symlink_to(base.resolve(), target_is_directory=True)


def served_digest(version: Path) -> str:
    """Return one digest of every byte that is served: weights or their reference, adapters and router."""
    from amends.records import digest_of

    files = sorted(file for part in ("model", "attachments") for file in (version / part).rglob("*") if file.is_file())
    found = {file.relative_to(version).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    return digest_of(found)


def run_apart(jobs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Run jobs in a process of their own, each in a child that has read no records but its own file.

    Returns:
        What `run` returns, with each job's share of the whole process's CPU-seconds as `process`.
    """
    asked, command = json.dumps(list(jobs)), [sys.executable, __file__]
    with stopwatch() as watch:
        done = subprocess.run(command, input=asked, text=True, check=True, stdout=subprocess.PIPE, env=_environment())
    return [json.loads(line) | {"process": watch.cpu / len(jobs)} for line in done.stdout.splitlines()]


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


def main() -> None:
    """Run the jobs of standard input, and write one line of JSON for each."""
    import amends_unlearning.shards  # noqa: F401  so that no child has to

    for job in json.load(sys.stdin):
        if os.fork() == 0:
            try:
                sys.stdout.write(json.dumps(run(job)) + "\n")
                sys.stdout.flush()
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        if os.wait()[1]:
            sys.exit("a job failed; its reason is above")


if __name__ == "__main__":
    main()
