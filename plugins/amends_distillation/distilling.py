"""The operations that teach a student from a teacher: what each takes, and what runs it."""

from __future__ import annotations

from collections.abc import Iterable

from amends import Operation


def operations() -> Iterable[Operation]:
    """Return the operations of this package."""
    return ()
