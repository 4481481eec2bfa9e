"""What a scheduler promises, whichever it is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol

from amends.operation.task import Progress
from amends.scheduler.jobs import Job, JobResult
from amends.store import fetch_manifest, open_blobs

logger = logging.getLogger(__name__)


class Handle:
    """A job that was submitted."""

    def __init__(self, job: Job, future: Future[JobResult], stop: Callable[[], None]) -> None:
        self.job = job
        self._future = future
        self._stop = stop

    @property
    def is_done(self) -> bool:
        """Whether it has a result or failed."""
        return self._future.done()

    def result(self, timeout: float | None = None) -> JobResult:
        """Wait for the result; its blobs are in the main store then.

        Raises:
            TaskFailed: It failed for good.
            Cancelled: Somebody cancelled it.
            TimeoutError: It still waits or runs.
        """
        return self._future.result(timeout)

    def cancel(self) -> None:
        """Ask it to stop; `result` raises `Cancelled` soon after, unless it was done."""
        self._stop()


class Scheduler(Protocol):
    """Runs jobs somewhere."""

    def submit(self, job: Job, on_progress: Progress | None = None) -> Handle:
        """Start a job, or queue it.

        Raises:
            Infeasible: No node could ever run it.
            Cancelled: The scheduler is closed, as what ran on it was: whoever comes next goes on.
        """

    def resources(self) -> dict[str, Any]:
        """Return the CPUs, GPUs and memory of all nodes, and of each."""

    def purge(self, digests: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
        """Remove copies of these digests and dead attempts on every node, and say by node what went."""

    @property
    def session_directory(self) -> Path | None:
        """Where the scheduler itself keeps files on this machine, for a scan."""

    def close(self) -> None:
        """Stop what runs and release everything."""


def take(job: Job, result: JobResult) -> JobResult:
    """Adopt the blobs of the attempt that gave `result`, and drop what other attempts of the job staged."""
    blobs = open_blobs(job.blobs_uri)
    staged = blobs.staging(result.fence)
    wanted = set(result.state.values())
    if result.output is not None:
        files = fetch_manifest(staged, result.output).files.values()
        wanted |= {result.output, *(entry.sha256 for entry in files)}
    blobs.adopt(result.fence, wanted)
    drop_attempts(job)
    return result


def drop_attempts(job: Job) -> None:
    """Drop everything that attempts of this job staged."""
    blobs = open_blobs(job.blobs_uri)
    for fence in blobs.fences():
        if fence.startswith(f"{job.id}."):
            blobs.discard(fence)


def telling(on_progress: Progress | None) -> Progress:
    """Return a report that never fails the job."""

    def report(done: int, total: int, message: str) -> None:
        if on_progress is not None:
            try:
                on_progress(done, total, message)
            except Exception as error:
                logger.warning("whoever watches the job failed with %s", type(error).__name__)

    return report
