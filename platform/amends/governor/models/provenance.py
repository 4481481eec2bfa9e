"""What stands behind a version: the data that it and its ancestors learnt from, and who was erased from them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from amends.governor.workspace import Workspace
from amends.ledger import audit, datasets, lineage
from amends.ledger.lineage import Version

if TYPE_CHECKING:
    from sqlalchemy import Connection


def data_behind(connection: Connection, digest: str) -> set[str]:
    """Return every data set that a version or one of its ancestors learnt from."""
    behind = {digest, *(version.digest for version in lineage.ancestors(connection, digest))}
    return {use.dataset for each in behind for use in lineage.data_of(connection, each)}


def living_data(connection: Connection, digest: str) -> list[str]:
    """Return those of them that nobody was erased from since."""
    known = {found.digest: found for found in datasets.find(connection)}
    behind = data_behind(connection, digest)
    return sorted(name for name in behind if name in known and known[name].status == "active")


def descends_from_erased(workspace: Workspace, digest: str) -> bool:
    """Whether somebody was erased from data behind a version and is in that version still, for all anybody knows.

    An erasure supersedes a data set, nothing else does. The version that this very erasure made may name the data set
    in its recipe all the same, where an operation took the person out of the weights; and so may what was made of it.
    """
    with workspace.database.read() as connection:
        lost = data_behind(connection, digest) - set(living_data(connection, digest))
        made_by = {version.case_id for version in _history(connection, digest) if version.case_id} if lost else set()
        return any(not _took_out(connection, made_by, dataset) for dataset in lost)


def _took_out(connection: Connection, made_by: Iterable[str], dataset: str) -> bool:
    """Whether one of these cases wrote a data set anew without the person whom it erased."""
    return any(audit.count(connection, f"{case}:data:{dataset[:16]}:") for case in made_by)


def _history(connection: Connection, digest: str) -> list[Version]:
    """Return the versions of a digest and all that it comes from or was rebuilt from."""
    left, seen = [digest], set[str]()
    found: list[Version] = []
    while left:
        here = left.pop()
        if here not in seen:
            seen.add(here)
            found += lineage.by_digest(connection, here)
            left += [edge.parent for edge in lineage.parents(connection, here)]
    return found
