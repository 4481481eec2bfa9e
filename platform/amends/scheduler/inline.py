"""Run jobs in this process, one at a time: for tests, and where one machine is enough."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

from amends.errors import Cancelled
from amends.operation.task import Progress
from amends.scheduler.fresh import GRACE_SECONDS, run_fresh
from amends.scheduler.handles import Handle, drop_attempts, take, telling
from amends.scheduler.jobs import Job, JobResult
from amends.scheduler.resources import Node, check_feasible, physical_memory_gb, summary
from amends.scheduler.runner import run_job
from amends.store.cache import purge_copies


class InlineScheduler:
    """Jobs on a thread of this process; a fresh job in a process of its own.

    Args:
        cache_directory: This machine's copies of trees and records.
        cpus: Cores to offer; all by default.
        gpus: GPUs to offer; what torch sees by default.
        grace_seconds: How long a cancelled fresh job may take to stop before it is killed. A job in this
            process cannot be killed: it stops at its next report.
    """

    session_directory: Path | None = None

    def __init__(
        self,
        cache_directory: Path,
        *,
        cpus: int | None = None,
        gpus: float | None = None,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self.cache_directory = cache_directory
        self.grace_seconds = grace_seconds
        self._cpus, self._gpus = cpus or os.cpu_count() or 1, gpus
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="amends-inline")
        self._closed = threading.Event()

    def submit(self, job: Job, on_progress: Progress | None = None) -> Handle:
        """Queue a job.

        Raises:
            Infeasible: This machine does not have what the job claims.
            Cancelled: It is closed.
        """
        check_feasible(job, [self._node(job.gpus > 0)])
        stopped = threading.Event()
        try:
            future = self._threads.submit(self._run, job, telling(on_progress), stopped)
        except RuntimeError:  # the threads were shut down, by `close` or with the interpreter
            raise Cancelled(f"{job.name} was cancelled") from None
        return Handle(job, future, stopped.set)

    def resources(self) -> dict[str, Any]:
        """Return what this machine offers."""
        return summary([self._node(True)])

    def purge(self, digests: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
        """Remove copies of these digests and what killed processes left."""
        return {platform.node(): purge_copies(self.cache_directory, digests)}

    def close(self) -> None:
        """Ask what runs to stop, and wait for it."""
        self._closed.set()
        self._threads.shutdown(cancel_futures=True)

    def _run(self, job: Job, report: Progress, stopped: threading.Event) -> JobResult:
        def is_cancelled() -> bool:
            return stopped.is_set() or self._closed.is_set()

        try:
            if is_cancelled():
                raise Cancelled(f"{job.name} was cancelled")
            if job.fresh:
                result = run_fresh(job, self.cache_directory, report, is_cancelled, grace_seconds=self.grace_seconds)
            else:
                result = run_job(job, self.cache_directory, report, is_cancelled)
        except Exception:
            drop_attempts(job)
            raise
        return take(job, result)

    def _node(self, with_gpus: bool) -> Node:
        return Node(platform.node(), self._cpus, self._seen_gpus if with_gpus else 0, physical_memory_gb())

    @cached_property
    def _seen_gpus(self) -> float:
        if self._gpus is not None:
            return self._gpus
        import torch

        return float(torch.cuda.device_count())
