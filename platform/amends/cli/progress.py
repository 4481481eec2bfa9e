"""Progress on standard error: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

LINE_EVERY_SECONDS = 5.0


class Progress:
    """Shows how far the work is.

    Args:
        is_silent: Show nothing at all.
    """

    def __init__(self, is_silent: bool = False) -> None:
        self.is_silent = is_silent
        self._bars: Bars | None = None
        self._task: TaskID | None = None
        self._last = ("", 0.0)

    def bar(self, done: int, total: int, message: str) -> None:
        """Report `done` of `total`."""
        if self.is_silent:
            return
        if sys.stderr.isatty():
            self._draw(done, total, message)
            return
        said, at = self._last
        if message != said or done >= total or time.monotonic() - at > LINE_EVERY_SECONDS:
            self._last = (message, time.monotonic())
            click.echo(f"[{done}/{total}] {message}", err=True)

    def say(self, sentence: str) -> None:
        """Write a sentence, above the bar where there is one."""
        if self.is_silent:
            return
        if self._bars is not None:
            self._bars.console.print(sentence, markup=False, highlight=False)
        else:
            click.echo(sentence, err=True)

    def stop(self) -> None:
        """Take the bar away."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = self._task = None

    def _draw(self, done: int, total: int, message: str) -> None:
        if self._bars is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bars

            columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
            self._bars = Bars(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True)
            self._bars.start()
        if self._task is None or message != self._last[0]:
            if self._task is not None:
                self._bars.remove_task(self._task)
            self._task, self._last = self._bars.add_task(message, total=total), (message, 0.0)
        self._bars.update(self._task, completed=done, total=total)
