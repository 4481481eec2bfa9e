"""Find the models that descend from one that holds a subject, and say of each what has to be done."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from amends.errors import Denied
from amends.governor.cases.planning import choose_ladder, stands_on
from amends.governor.models.promoting import champion
from amends.governor.workspace import Workspace
from amends.ledger import lineage
from amends.policy import Descendants, Policy
from amends.records import Guarantee, ModelVersion

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from amends.ledger.lineage import Version

CIRCLE = "it and what it was made from descend from each other"
OUTSIDE = "it stands on imported weights that were declared to descend, and no step made these"


@dataclass(frozen=True)
class Descent:
    """A model with versions that come from one that holds the subject.

    Args:
        model: Its name.
        versions: Those of its versions that have to go.
        after: The models whose versions it was made from or with, nearest last; these are replaced first.
        is_circular: Whether it descends from one of these and one of these from it.
    """

    model: str
    versions: tuple[Version, ...]
    after: tuple[str, ...]
    is_circular: bool = False


@dataclass(frozen=True)
class Way:
    """What is planned for a model.

    Args:
        how: Whether it is made again or taken out of service.
        because: Why, as the end of a sentence.
        target: The version that it serves with, where it is made again.
        ladder: What makes it again, with the guarantee.
    """

    how: Descendants
    because: str
    target: ModelVersion | None = None
    ladder: tuple[tuple[str, Guarantee], ...] = ()


def descents(connection: Connection, root: str, tainted: Sequence[Version]) -> list[Descent]:
    """Return the models other than this one that descend from its tainted versions, each after those it comes from.

    A version that is sealed was replaced already and needs no case: it goes with the purge. One that is quarantined
    was not, and may be released.

    Args:
        connection: Any connection.
        root: The model that the request is about.
        tainted: Every version that holds the subject and is not purged.
    """
    digests = {version.digest for version in tainted}
    start = {version.digest for version in tainted if version.model == root}
    below = {v.digest for digest in sorted(start) for v in lineage.descendants(connection, digest)}
    found: dict[str, list[Version]] = {}
    for version in tainted:
        if version.model != root and version.digest in below and version.status in lineage.STANDING:
            found.setdefault(version.model, []).append(version)
    after = {model: _after(connection, versions, digests, {*found, root}) for model, versions in found.items()}
    order = TopologicalSorter({model: {*some} - {root, model} for model, some in after.items()})
    try:
        ordered, is_circular = list(order.static_order()), False
    except CycleError:
        ordered, is_circular = sorted(found), True
    place = {model: number for number, model in enumerate([root, *ordered])}
    return [
        Descent(model, tuple(found[model]), tuple(sorted(after[model], key=place.__getitem__)), is_circular)
        for model in ordered
    ]


def _after(
    connection: Connection, versions: Sequence[Version], tainted: Collection[str], models: Collection[str]
) -> set[str]:
    """Return the models that versions come from, seen past those that nobody serves any more."""
    own = versions[0].model
    found, here, seen = set(), [version.digest for version in versions], set()
    while here:
        digest = here.pop()
        seen.add(digest)
        for edge in lineage.parents(connection, digest):
            if edge.kind == "rebuilt-from" or edge.parent not in tainted or edge.parent in seen:
                continue
            named = {version.model for version in lineage.by_digest(connection, edge.parent)} - {own}
            found |= named & set(models)
            if not named & set(models):
                here.append(edge.parent)
    return found


def way_of(
    workspace: Workspace, policy: Policy, descent: Descent, held: Sequence[str], tainted: Collection[str],
    retired: Collection[str],
) -> Way:  # fmt: skip
    """Return what is to be done for a model that descends from another.

    Args:
        workspace: Where it is.
        policy: The erasure policy.
        descent: The model.
        held: The data sets that hold the subject.
        tainted: The versions that do.
        retired: Models that this request takes out of service.
    """
    target = champion(workspace, descent.model)
    lost = [model for model in descent.after if model in retired]
    if policy.descendants is Descendants.RETIRE:
        return Way(Descendants.RETIRE, "the erasure policy retires what descends from an erased model")
    if descent.is_circular:
        return Way(Descendants.RETIRE, CIRCLE)
    if lost:
        return Way(Descendants.RETIRE, f"{lost[0]}, which it was made from, is retired")
    if target is None or target.digest not in {version.digest for version in descent.versions}:
        return Way(Descendants.RETIRE, "none of these versions is its champion")
    with workspace.database.read() as connection:
        if stands_on(connection, target.digest, tainted):
            return Way(Descendants.RETIRE, OUTSIDE)
    try:
        ladder = choose_ladder(workspace, target.digest, policy.operations, list(held), tainted)
    except Denied:
        return Way(Descendants.RETIRE, "no operation that is installed can make it again")
    return Way(Descendants.REBUILD, f"it is made again once {descent.after[-1]} is replaced", target, tuple(ladder))
