"""Make sure that no case of a workspace is being carried out while something needs it to hold still."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from amends.errors import Waiting
from amends.governor.workspace import Workspace

LOCK = "executor.lock"


@contextmanager
def standstill(workspace: Workspace) -> Iterator[None]:
    """Keep every executor of the workspace out while the body runs.

    Raises:
        Waiting: One is at work.
    """
    with (workspace.home / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Waiting("a case of this workspace is being carried out; wait for it and run the same again") from None
        yield
