"""Tell one bar of progress about several stages of work."""

from __future__ import annotations

from collections.abc import Callable

from amends import Task

WHOLE = 1000


class Stages:
    """A task's progress in thousandths of the whole.

    Args:
        task: Who is told.
    """

    def __init__(self, task: Task) -> None:
        self.task = task

    def stage(self, message: str, begins: float, ends: float) -> Callable[[int, int], None]:
        """Return what is told how much of one stage is done; the stage goes from one share of the whole to another."""

        def heed(done: int, total: int) -> None:
            share = begins + (ends - begins) * done / max(total, 1)
            self.task.progress(int(share * WHOLE), WHOLE, message)

        return heed

    def end(self, message: str) -> None:
        """Say that everything is done."""
        self.task.progress(WHOLE, WHOLE, message)
