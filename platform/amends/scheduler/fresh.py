"""Run a job in a process of its own with an empty cache, and stop it when nobody waits for it any more."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from amends.errors import Cancelled, TaskFailed
from amends.operation.task import Progress
from amends.scheduler.failures import settle
from amends.scheduler.jobs import Job, JobResult
from amends.store.scratch import scratch

ATTEMPTS = 3
POLL_SECONDS = 0.2
GRACE_SECONDS = 10.0


def run_fresh(
    job: Job,
    cache_directory: Path,
    report: Progress,
    is_cancelled: Callable[[], bool],
    *,
    grace_seconds: float = GRACE_SECONDS,
) -> JobResult:
    """Run a job in a new process, again where that process was killed.

    Raises:
        TaskFailed: It failed, or its process was killed every time.
        Cancelled: Somebody asked it to stop; its process group is killed after the grace period.
    """
    for _ in range(ATTEMPTS):
        with scratch(cache_directory / "scratch", f"{job.id}.fresh") as empty:
            outcome = _Child(job, empty, report, is_cancelled, grace_seconds).wait()
        if is_cancelled():
            raise Cancelled(f"{job.name} was cancelled")
        if outcome is not None:
            return settle(outcome)
    raise killed(job)


def killed(job: Job) -> TaskFailed:
    """Return the failure of a job whose process was killed every time."""
    return TaskFailed(
        f"{job.name} failed: its process was killed {ATTEMPTS} times; it may need more than the "
        f"{job.memory_gb:g} GB it claims: look at the machine's memory and retry"
    )


def start_worker(cache_directory: Path, grace_seconds: float) -> subprocess.Popen[str]:
    """Start the process of one job, in a session of its own, with pipes to its standard input and output."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "amends.scheduler.worker", str(cache_directory), str(grace_seconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        text=True,
    )


class _Child:
    """A process that runs one job: the job goes in on standard input, never as an argument; JSON lines come out."""

    def __init__(
        self,
        job: Job,
        cache_directory: Path,
        report: Progress,
        is_cancelled: Callable[[], bool],
        grace_seconds: float,
    ) -> None:
        self.report, self.is_cancelled, self.grace_seconds = report, is_cancelled, grace_seconds
        self.process = start_worker(cache_directory, grace_seconds)
        self.lines: queue.Queue[str | None] = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self._tell(job.to_json(with_key=True) + "\n")

    def wait(self) -> str | None:
        """Return the outcome, or None if the process died without one."""
        try:
            return self._watch()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)  # what the plugin started goes with it
            self.reader.join()
            self._hang_up()
            with self.process:
                pass

    def _watch(self) -> str | None:
        outcome, deadline = None, float("inf")
        while time.monotonic() < deadline:
            if deadline == float("inf") and self.is_cancelled():
                deadline = time.monotonic() + self.grace_seconds
                self._hang_up()
            with contextlib.suppress(queue.Empty):
                line = self.lines.get(timeout=POLL_SECONDS)
                if line is None:
                    break
                outcome = self._hear(line) or outcome
        return outcome

    def _hear(self, line: str) -> str | None:
        said = json.loads(line)
        if "progress" not in said:
            return line
        self.report(*said["progress"])
        return None

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def _tell(self, text: str) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(text)
            self.process.stdin.flush()

    def _hang_up(self) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
