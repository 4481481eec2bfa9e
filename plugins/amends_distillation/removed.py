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

TOLD = "say with --forget and --control, or with --forbidden, what the student must not have either"


def nothing_removed_from(workspace: Workspace, teacher: str, student: str) -> str:
    """Return the version that a teacher's reference names, once nothing was removed from it, nor from its student.

    What was erased exactly needs no question: such a version is one that never had it.

    Args:
        workspace: Where they are.
        teacher: A reference, which may name another version later.
        student: The model that learns; it need not exist.

    Raises:
        BadInput: An erasure that was not exact, or a cure, stands in the lineage of either, or what nobody can tell
            because its plugin is not installed.
    """
    taught = standing(workspace, student)
    with workspace.database.read() as connection:
        found = [aliases.resolve(connection, one) for one in (teacher, *([str(taught)] if taught else []))]
        for version in found:
            line = (version, *lineage.ancestors(connection, version.digest))
            if any(_is_mended(workspace, connection, one) for one in line):
                raise BadInput(f"something was removed from {version.name}; {TOLD}")
    return str(found[0].name)


def _is_mended(workspace: Workspace, connection: Connection, version: Version) -> bool:
    """Whether something was taken out of a version that it may have kept in part."""
    names = [str(step["operation"]) for step in version.recipe.get("steps", [])]
    known = workspace.host.operations
    if absent := [name for name in names if name not in known]:
        raise BadInput(
            f"{version.name} was made by {absent[0]}, which is not installed, so nobody can tell whether something was "
            f"removed; install its plugin, or {TOLD}"
        )
    if any(known[name].removes for name in names):
        return True
    if version.guarantee is None:
        return any(edge.kind == "rebuilt-from" for edge in lineage.parents(connection, version.digest))
    return version.guarantee == Guarantee.APPROXIMATE
