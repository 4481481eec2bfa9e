"""The driver's end of a job on Ray: relays progress, stops it, and takes its result."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from amends.errors import Cancelled, Infeasible, TaskFailed
from amends.operation.task import Progress
from amends.scheduler.board import POLL_SECONDS
from amends.scheduler.failures import settle
from amends.scheduler.fresh import killed
from amends.scheduler.handles import drop_attempts, take
from amends.scheduler.jobs import Job, JobResult
from amends.scheduler.resources import Node, check_feasible

_CHECK_SECONDS = 2.0
_FRESH_SECONDS = 3.0  # a fresh job's worker stops its child first


class Watch:
    """One submitted job and the thread that watches it until it ends.

    Args:
        job: What was submitted.
        reference: Ray's reference to its outcome.
        board: The actor that the worker talks to.
        report: Told of progress.
        nodes: Returns the nodes that are alive.
        grace_seconds: How long a cancelled job may take to stop before its worker is killed.
        patience_seconds: How long to wait while no node could run it any more.
    """

    def __init__(
        self,
        job: Job,
        reference: Any,
        board: Any,
        report: Progress,
        nodes: Callable[[], list[Node]],
        *,
        grace_seconds: float,
        patience_seconds: float,
    ) -> None:
        import ray

        self._ray, self._job, self._reference, self._board = ray, job, reference, board
        self._report, self._nodes = report, nodes
        self._grace = grace_seconds + (_FRESH_SECONDS if job.fresh else 0)
        self._patience = patience_seconds
        self._attempts = 0
        self._kill_at: float | None = None
        self._checked = self._last_feasible = time.monotonic()
        self.stopped = threading.Event()
        self.future: Future[JobResult] = Future()
        self.thread = threading.Thread(target=self._settle, name=f"amends-{job.id}", daemon=True)
        self.thread.start()

    def _settle(self) -> None:
        try:
            result = take(self._job, self._wait())
        except Exception as error:
            with contextlib.suppress(Exception):
                drop_attempts(self._job)
            self.future.set_exception(error)
        else:
            self.future.set_result(result)
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._board.forget.remote(self._job.id)

    def _wait(self) -> JobResult:
        while not self._ray.wait([self._reference], timeout=POLL_SECONDS)[0]:
            self._relay()
            if self.stopped.is_set():
                self._stop()
            else:
                self._check_nodes()
        self._relay()
        return self._outcome()

    def _outcome(self) -> JobResult:
        try:
            text = self._ray.get(self._reference)
        except self._ray.exceptions.RayTaskError as error:
            failure = TaskFailed(
                f"{self._job.name} failed: a worker could not run it ({type(error.cause).__name__}); install the "
                "same version of Amends and its plugins on every node"
            )
        except self._ray.exceptions.RayError:
            failure = killed(self._job)
        else:
            return self._settled(text)
        raise Cancelled(f"{self._job.name} was cancelled") if self.stopped.is_set() else failure

    def _settled(self, text: str) -> JobResult:
        try:
            return settle(text)
        except Cancelled:
            if self.stopped.is_set():
                raise
        raise TaskFailed(f"{self._job.name} failed: its worker lost the driver's node; retry")

    def _relay(self) -> None:
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._attempts, told = self._ray.get(self._board.hear.remote(self._job.id))
            if told is not None:
                self._report(*told)

    def _stop(self) -> None:
        """Ask first; take it out of the queue if it has not begun, kill its worker if it does not listen."""
        if self._kill_at is None:
            self._kill_at = time.monotonic() + self._grace
            self._board.stop.remote(self._job.id)
            if not self._attempts:
                self._ray.cancel(self._reference)
        elif time.monotonic() > self._kill_at:
            self._kill_at = float("inf")
            self._ray.cancel(self._reference, force=True)

    def _check_nodes(self) -> None:
        """Give up when the nodes that could run it are gone for long; Ray would wait for ever."""
        now = time.monotonic()
        if now - self._checked < _CHECK_SECONDS:
            return
        self._checked = now
        try:
            check_feasible(self._job, self._nodes())
            self._last_feasible = now
        except Infeasible as lost:
            if now - self._last_feasible > self._patience:
                self._ray.cancel(self._reference, force=True)
                raise TaskFailed(f"{lost} (a node was lost)") from None
