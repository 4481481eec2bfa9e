"""Where versions come from, as a page draws it: from the ledger, which keeps recipes when files are gone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from amends.governor.models.recipes import base_of
from amends.governor.proof.evidence import History, Step
from amends.governor.workspace import Workspace
from amends.ledger import lineage

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from amends.ledger.lineage import Version

DIGITS = 12  # of a data set's digest: enough to find it in the ledger


def history_of(workspace: Workspace, before: str, after: str | None = None) -> History:
    """Return the base and the steps of a version, and of the one that replaced it, by their digests."""
    base = base_of(workspace, before)
    with workspace.database.read() as connection:
        start, old = _version(connection, base), _version(connection, before)
        new = None if after is None else _version(connection, after)
    return History(
        None if start is None or start.recipe.get("steps") else start.name,
        _steps(old),
        _steps(new),
        str(old.guarantee) if old is not None and old.guarantee is not None else "",
    )


def _version(connection: Connection, digest: str) -> Version | None:
    return next(iter(lineage.by_digest(connection, digest)), None)


def _steps(version: Version | None) -> tuple[Step, ...]:
    steps = [] if version is None else version.recipe.get("steps", [])
    return tuple(
        Step(step["operation"], _short({**step.get("models", {}), **step.get("records", {})})) for step in steps
    )


def _short(records: Mapping[str, str]) -> dict[str, str]:
    return {name: digest[:DIGITS] for name, digest in records.items()}
