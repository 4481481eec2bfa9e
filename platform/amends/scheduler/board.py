"""Where a worker on Ray and its driver leave word for each other: a small actor without CPUs."""

from __future__ import annotations

import secrets
import time
from typing import Any

Told = tuple[int, int, str]
POLL_SECONDS = 0.2
_ANSWER_SECONDS = 10.0


class Board:
    """Who was asked to stop, who has started, and how far each job is."""

    def __init__(self) -> None:
        self.stopped: set[str] = set()
        self.told: dict[str, Told] = {}
        self.attempts: dict[str, set[str]] = {}

    def start(self, job: str, attempt: str) -> None:
        """Note that an attempt began; noting it twice is the same as once."""
        self.attempts.setdefault(job, set()).add(attempt)

    def tell(self, job: str, done: int, total: int, message: str) -> None:
        """Note how far a job is."""
        self.told[job] = (done, total, message)

    def is_stopped(self, job: str) -> bool:
        """Whether a job was asked to stop."""
        return job in self.stopped

    def stop(self, job: str) -> None:
        """Ask a job to stop."""
        self.stopped.add(job)

    def hear(self, job: str) -> tuple[int, Told | None]:
        """Return how often a job was tried, and how far it is if that is news."""
        return len(self.attempts.get(job, ())), self.told.pop(job, None)

    def forget(self, job: str) -> None:
        """Drop everything about a job that ended."""
        self.stopped.discard(job)
        self.told.pop(job, None)
        self.attempts.pop(job, None)


class Line:
    """A worker's end: asks at most every 0.2 s, and counts as stopped when the driver is gone."""

    def __init__(self, board: Any, job: str) -> None:
        import ray

        self._ray, self._board, self._job = ray, board, job
        self._asked = self._said = float("-inf")
        self._last: Any = board.start.remote(job, secrets.token_hex(8))
        self._stopped = False

    def is_cancelled(self) -> bool:
        """Whether this job was asked to stop."""
        if not self._stopped and time.monotonic() - self._asked >= POLL_SECONDS:
            self._stopped = self._ask()
            self._asked = time.monotonic()
        return self._stopped

    def report(self, done: int, total: int, message: str) -> None:
        """Tell the driver, at most every 0.2 s and at the end."""
        if done >= total or time.monotonic() - self._said >= POLL_SECONDS:
            self._last = self._board.tell.remote(self._job, done, total, message)
            self._said = time.monotonic()

    def flush(self) -> None:
        """Wait until the board has what was told last."""
        if self._last is not None:
            self._ray.wait([self._last], timeout=_ANSWER_SECONDS)

    def _ask(self) -> bool:
        try:
            return bool(self._ray.get(self._board.is_stopped.remote(self._job), timeout=_ANSWER_SECONDS))
        except self._ray.exceptions.ActorDiedError:  # the board dies with its driver: nobody will take the result
            return True
        except self._ray.exceptions.RayError:  # busy or out of reach for a moment
            return False
