"""See a cancellation in every loop: whoever takes the next thing out of a sequence asks first whether to go on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar, overload

from amends import Cancelled, Task

T = TypeVar("T")
Heed = Callable[[], None]


def heeding(task: Task) -> Heed:
    """Return what raises `Cancelled` once somebody asked the task to stop, and says nothing of progress."""

    def heed() -> None:
        if task.cancelled:
            raise Cancelled("the task was cancelled")

    return heed


def nobody() -> None:
    """Heed nobody: for what runs outside of a task."""


def watched(some: Iterable[T], heed: Heed) -> Iterator[T]:
    """Yield what there is, asking before each."""
    for one in some:
        heed()
        yield one


class Watched(Sequence[T], Generic[T]):
    """A sequence that asks each time that something is taken from it."""

    def __init__(self, held: Sequence[T], heed: Heed) -> None:
        self._held, self._heed = held, heed

    def __len__(self) -> int:
        return len(self._held)

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...

    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        self._heed()
        return self._held[index]
