"""Whether anything was taken out of a teacher, as the ledger tells it."""

from __future__ import annotations

from amends import BadInput
from amends.governor.workspace import Workspace
from amends.ledger import aliases, lineage

MENDING = ("unlearning.", "detox.", "editing.forget")
"""How the names of operations begin that take something out of a model."""


def check_nothing_removed(workspace: Workspace, teacher: str) -> None:
    """Refuse to say that nothing was removed from a teacher where something was.

    Raises:
        BadInput: An erasure or a cure stands in its lineage.
    """
    with workspace.database.read() as connection:
        version = aliases.resolve(connection, teacher)
        whole = (version, *lineage.ancestors(connection, version.digest))
        rebuilt = any(e.kind == "rebuilt-from" for one in whole for e in lineage.parents(connection, one.digest))
    steps = [str(step["operation"]) for one in whole for step in one.recipe.get("steps", [])]
    if rebuilt or any(one.guarantee is not None for one in whole) or any(s.startswith(MENDING) for s in steps):
        raise BadInput(
            f"something was removed from {version.name}; say with --forget and --control, or with --forbidden, "
            "what its student must not have either"
        )
