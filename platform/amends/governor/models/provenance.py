"""What stands behind a version: its licence, and the data that it and its ancestors learnt from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amends.governor.workspace import Workspace
from amends.ledger import datasets, lineage

if TYPE_CHECKING:
    from sqlalchemy import Connection

UNKNOWN = "unknown"


def licence_of(workspace: Workspace, digest: str) -> str:
    """Return the licences of every base that a version comes from; `unknown` where one of them has none."""
    with workspace.database.read() as connection:
        behind = (*lineage.by_digest(connection, digest), *lineage.ancestors(connection, digest))
    bases = [version.recipe["base"] for version in behind if version.recipe.get("base")]
    named = {str(base.get("licence") or UNKNOWN) for base in bases} or {UNKNOWN}
    return UNKNOWN if UNKNOWN in named else ", ".join(sorted(named))


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
    """Whether somebody was erased, since, from data that a version or one of its ancestors learnt from.

    A data set is superseded or purged by nothing else; one that nobody knows any more counts as such.
    """
    with workspace.database.read() as connection:
        return set(living_data(connection, digest)) != data_behind(connection, digest)
