"""The live indexes as a place where people's data lies: found, erased from every file, and shown to be gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from amends import Disclosure, Finding, Workspace
from amends_rag.places import STORE, names


class Indexes:
    """Every index of a workspace; each call may be repeated after a crash.

    Args:
        workspace: Whose.
    """

    name = STORE

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def locate(self, disclosure: Disclosure) -> Iterator[Finding]:
        """Yield each index that holds the person, with how many passages do."""
        return self._each(lambda workspace, name: _erasing().count_in(workspace, name, disclosure))

    def erase(self, disclosure: Disclosure) -> list[Finding]:
        """Remove the person from every index, and return how many passages went from each.

        A passage that names somebody else as well goes or is rewritten, as `rag.toml` says. What the workspace's
        data sets no longer have, as after a reviewer's mark, goes too.

        Raises:
            BadInput: A file of an index still holds the person, or its silence could not be tested.
        """
        return list(self._each(lambda workspace, name: _erasing().erase_from(workspace, name, disclosure, STORE)))

    def verify(self, disclosure: Disclosure) -> Iterator[Finding]:
        """Yield each index in which the person is found, or of which nobody can say that they are not."""
        return self._each(lambda workspace, name: _erasing().left_in(workspace, name, disclosure))

    def _each(self, count: Callable[[Any, str], int]) -> Iterator[Finding]:
        for name in names(self._workspace.home):
            if found := count(_whole(self._workspace), name):
                yield Finding(STORE, f"index {name}", found)


def _erasing() -> ModuleType:
    """Return what is heavy to import, only where there is an index."""
    from amends_rag import erasing

    return erasing


def _whole(workspace: Workspace) -> Any:
    """Return the governor's own workspace, opened where only its directory is known."""
    from amends.governor import workspace as governor

    return workspace if isinstance(workspace, governor.Workspace) else governor.Workspace(workspace.home)
