"""What work that was not finished has built: candidates and their state, data written again, forget sets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from amends.governor.workspace import Workspace
from amends.ledger import cases, datasets, inventory, journal, lineage
from amends.records import CaseStatus
from amends.store.trees import fetch_manifest

if TYPE_CHECKING:
    from sqlalchemy import Connection

ASKING = "ask"
"""The step of a finding that writes questions about a person, and deletes them."""

BROUGHT = "brought"
"""The step of a training that seals what a run elsewhere has left."""

BUILDING = (BROUGHT, "train", "apply", "rebuild", "counterfactual")
TRY = "try:"
"""What the steps begin with that try a candidate each."""
Steps = Mapping[str, Mapping[str, Any]]


def products_of(workspace: Workspace, steps: Steps) -> set[str]:
    """Return every blob that these steps made, as far as they are still there."""
    found: set[str] = set()
    prepared = steps.get("prepare", {})
    for made in (prepared, steps.get(ASKING, {})):
        found |= {str(made[name]) for name in ("forget", "strangers") if made.get(name)}
    for blobs in prepared.get("datasets", {}).values():
        found |= {blobs["train"], blobs["control"]}
    return found.union(
        *(_built(workspace, done) for name, done in steps.items() if name in BUILDING or name.startswith(TRY))
    )


def _built(workspace: Workspace, done: Mapping[str, Any]) -> set[str]:
    found = set(done.get("state", {}).values())
    trees = {done.get("digest"), done.get("first"), *done.get("between", ())} - {None}
    return found.union(*(files_of(workspace, str(tree)) for tree in trees))


def between_of(workspace: Workspace, steps: Steps) -> set[str]:
    """Return the files of the versions that were passed through on the way to the one that is registered."""
    trees = {tree for name in BUILDING for tree in steps.get(name, {}).get("between", ())}
    trees |= {str(steps.get(name, {}).get("first", "")) for name in BUILDING}
    return set().union(*(files_of(workspace, tree) for tree in trees))


def files_of(workspace: Workspace, tree: str) -> set[str]:
    """Return a tree's manifest and files; nothing where the manifest is gone."""
    if not tree or not workspace.blobs.has(tree):
        return set()
    return {tree, *(entry.sha256 for entry in fetch_manifest(workspace.blobs, tree).files.values())}


def needed(
    workspace: Workspace, but_versions: Iterable[tuple[str, int]] = (), but_data: Iterable[str] = ()
) -> set[str]:
    """Return every blob that a version, its state or a data set needs, those named left out."""
    versions, data = set(but_versions), set(but_data)
    found: set[str] = set()
    with workspace.database.read() as connection:
        for version in lineage.versions_of(connection):
            if (version.model, version.number) not in versions and str(version.status) != "purged":
                found |= files_of(workspace, version.digest)
                found |= {blob.blob for blob in inventory.state_of(connection, version.digest).values()}
        for dataset in datasets.find(connection):
            if dataset.digest not in data and dataset.status != "purged":
                found |= {dataset.digest, str(dataset.settings.get("control", ""))}
    return found


def drop_products(workspace: Workspace, lead: str, only: Iterable[str] = ()) -> None:
    """Delete what a case's steps made and nothing else needs; its journal stays for the caller to forget.

    Args:
        workspace: Where they are.
        lead: The case whose journal says what was made.
        only: The steps whose products go; all, where none is named.
    """
    with workspace.database.read() as connection:
        done = journal.steps_of(connection, lead)
        steps = {name: result for name, result in done.items() if not only or name in only}
    _delete(workspace, lead, products_of(workspace, steps))


def drop_built(workspace: Workspace, lead: str, built: Iterable[Mapping[str, Any]], keep: Mapping[str, Any]) -> None:
    """Delete versions that a case built, with their state, but for what something else needs.

    Args:
        workspace: Where they are.
        lead: The case.
        built: What the steps returned that built them.
        keep: The same of one that stays.
    """
    _delete(workspace, lead, set[str]().union(*(_built(workspace, done) for done in built)) - _built(workspace, keep))


def _delete(workspace: Workspace, lead: str, made: set[str]) -> None:
    if not made:
        return
    with workspace.database.read() as connection:
        open_cases = cases.find(connection, status=(CaseStatus.FAILED, CaseStatus.IN_PROGRESS), limit=None)
        others = [journal.steps_of(connection, case.id) for case in open_cases if case.id != lead]
    gone = made - needed(workspace).union(*(products_of(workspace, other) for other in others))
    for digest in sorted(gone):
        workspace.blobs.delete(digest)
    workspace.cache.purge(gone)


def unfinished(connection: Connection, data: Iterable[str]) -> list[str]:
    """Return the failed cases whose unregistered candidates learnt from any of these data sets."""
    wanted, found = set(data), []
    for case in cases.find(connection, status=CaseStatus.FAILED, limit=None):
        steps = journal.steps_of(connection, case.id)
        if steps and "register" not in steps and wanted & _data_of(connection, case.id, steps):
            found.append(case.id)
    return found


def _data_of(connection: Connection, case: str, steps: Steps) -> set[str]:
    plan = cases.get(connection, case).plan or {}
    prepared = steps.get("prepare", {}).get("datasets", {})
    named = plan.get("records", {})
    trained = set(named) if plan.get("kind") == "erasure" else set(named.values())
    return trained | set(prepared) | {blobs["train"] for blobs in prepared.values()}
