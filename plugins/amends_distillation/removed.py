"""Whether anything that was taken out of a version may still be in it, as the ledger tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amends import BadInput, Guarantee
from amends.governor.models.promoting import standing
from amends.governor.workspace import Workspace
from amends.ledger import aliases, lineage

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from amends.ledger.lineage import Version

MENDING = ("unlearning.", "detox.", "editing.forget")
"""How the names of operations begin that take something out of a model."""


def nothing_removed_from(workspace: Workspace, teacher: str, student: str) -> str:
    """Return the version that a teacher's reference names, once nothing was removed from it, nor from its student.

    What was erased exactly needs no question: such a version is one that never had it.

    Args:
        workspace: Where they are.
        teacher: A reference, which may name another version later.
        student: The model that learns; it need not exist.

    Raises:
        BadInput: An erasure that was not exact, or a cure, stands in the lineage of either.
    """
    taught = standing(workspace, student)
    with workspace.database.read() as connection:
        found = [aliases.resolve(connection, one) for one in (teacher, *([str(taught)] if taught else []))]
        for version in found:
            if any(_is_mended(connection, one) for one in (version, *lineage.ancestors(connection, version.digest))):
                raise BadInput(
                    f"something was removed from {version.name}; say with --forget and --control, or with --forbidden, "
                    "what the student must not have either"
                )
    return str(found[0].name)


def _is_mended(connection: Connection, version: Version) -> bool:
    """Whether something was taken out of a version that it may have kept in part."""
    if any(str(step["operation"]).startswith(MENDING) for step in version.recipe.get("steps", [])):
        return True
    if version.guarantee is None:
        return any(edge.kind == "rebuilt-from" for edge in lineage.parents(connection, version.digest))
    return version.guarantee == Guarantee.APPROXIMATE
