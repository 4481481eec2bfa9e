"""Look at what stands in the registry: versions that are not what was signed, and those that are set aside."""

from __future__ import annotations

from amends.governor.models.quarantine import QUARANTINED, set_aside_changed
from amends.governor.upkeep.vitals import Finding, broken, ok, warn
from amends.governor.workspace import Workspace
from amends.ledger import lineage

ACTOR = "doctor"


def look_at_versions(workspace: Workspace, deep: bool = False) -> Finding:
    """Set versions aside that are not what was signed, and name those that are; with `deep` read every byte."""
    found = set_aside_changed(workspace, ACTOR, is_deep=deep)
    proven, unread = ([doubt for doubt in found if doubt.is_proven is proof] for proof in (True, False))
    if proven:
        return broken(
            f"{len(proven)} versions changed and are quarantined now; {proven[0].version.name}: {proven[0].why}",
            "restore the workspace from a backup with `amends restore`, or promote another version",
        )
    if unread:
        said, _, way = unread[0].why.partition("; ")
        return broken(f"{unread[0].version.name} could not be read back: {said}", way or "restore it from a backup")
    with workspace.database.read() as connection:
        every = lineage.versions_of(connection)
    aside = [version.name for version in every if version.status == QUARANTINED]
    if aside:
        return warn(
            f"{len(aside)} versions are quarantined, the first is {aside[0]}",
            "see `amends models history MODEL`; somebody else may release it: amends models release",
        )
    active = sum(version.status == "active" for version in every)
    return ok(f"{active} active versions, none quarantined" + (", every byte of them as it was signed" * deep))
