"""Delete old versions that nothing needs: no alias, no open case, no later version's recipe, no later erasure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from amends.errors import BadInput, UnknownModel
from amends.governor.models.quarantine import QUARANTINED
from amends.governor.models.recipes import referenced_base
from amends.governor.standstill import standstill
from amends.governor.workspace import Workspace
from amends.ledger import aliases, cases, datasets, inventory, journal, lineage
from amends.ledger.actions import Action
from amends.ledger.lineage import Version
from amends.records import CaseStatus
from amends.store.trees import fetch_manifest

OPEN = tuple(status for status in CaseStatus if cases.TRANSITIONS[status])


@dataclass(frozen=True)
class _Mentions:
    """What the plans and journals of open cases name: versions as `model@number`, and digests."""

    texts: frozenset[str]
    trees: frozenset[str]


def prune(workspace: Workspace, model: str, keep: int = 3, dry_run: bool = False) -> list[dict[str, Any]]:
    """Delete the bytes of a model's old versions and return a row for each; their numbers stay as tombstones.

    What stays: the newest `keep` active versions, whatever an alias stands for or an open case names, and
    every version that one of those, or a version of another model, comes from: a later erasure starts again
    from the clean checkpoints of just these. A sealed version that no case is going to purge goes.

    Raises:
        BadInput: `keep` is below 1.
        UnknownModel: There is no such model.
        Waiting: A case is being carried out.
    """
    actor = workspace.require_role("operator", "ml-engineer")
    if keep < 1:
        raise BadInput(f"keep must be 1 or more, not {keep}; a model without versions is purged by a case instead")
    with standstill(workspace):
        named = _mentions(workspace)
        old = _old(workspace, model, keep, named)
        needed = _needed(workspace, old, named)
        rows = []
        for version in old:
            row, blobs = _row(workspace, version, needed)
            if not dry_run:
                _delete(workspace, version, blobs, actor.id, row)
            rows.append(row)
    return rows


def _old(workspace: Workspace, model: str, keep: int, named: _Mentions) -> list[Version]:
    """Return what may go, oldest first."""
    with workspace.database.read() as connection:
        alive = [version for version in lineage.versions_of(connection) if version.status != "purged"]
        mine = [version for version in alive if version.model == model]
        if not mine:
            raise UnknownModel(f"there is no model {model!r} with versions to prune; see amends models list")
        newest = [version for version in mine if version.status == "active"][-keep:]
        aside = [version for version in mine if version.status == QUARANTINED]  # to be looked into, not lost
        kept = {version.digest for version in (*newest, *aside, *(other for other in alive if other.model != model))}
        standing = set(aliases.aliases_of(connection, model).values())
        kept |= {
            v.digest for v in mine if v.number in standing or str(v.name) in named.texts or v.digest in named.texts
        }
        for digest in sorted(kept):
            kept |= {version.digest for version in lineage.ancestors(connection, digest)}
    kept |= set().union(*(_base(workspace, digest) for digest in kept))
    return [version for version in mine if version.digest not in kept]


def _base(workspace: Workspace, digest: str) -> set[str]:
    """Return the base that a version refers to, should its lineage not say so."""
    base = referenced_base(workspace, digest) if workspace.blobs.has(digest) else None
    return set() if base is None else {base}


def _mentions(workspace: Workspace) -> _Mentions:
    with workspace.database.read() as connection:
        found = cases.find(connection, status=OPEN, limit=None)
        said = [cases.get(connection, case.id).plan for case in found]
        said += [result for case in found for result in journal.steps_of(connection, case.id).values()]
    leaves = [leaf for value in said for leaf in _leaves("", value)]
    return _Mentions(
        frozenset(text for _, text in leaves), frozenset(text for key, text in leaves if key == "digest" and text)
    )


def _leaves(key: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield every text in a JSON value after the key it stands under."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield "", str(name)
            yield from _leaves(str(name), inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _leaves(key, inner)


def _needed(workspace: Workspace, old: Iterable[Version], named: _Mentions) -> set[str]:
    """Return every blob that something else than the old versions needs."""
    going = {(version.model, version.number) for version in old}
    with workspace.database.read() as connection:
        alive = [v for v in lineage.versions_of(connection) if (v.model, v.number) not in going]
        trees = {version.digest for version in alive if version.status != "purged"}
        needed = {blob.blob for digest in trees for blob in inventory.state_of(connection, digest).values()}
        for dataset in datasets.find(connection):
            if dataset.status != "purged":
                needed |= {dataset.digest, str(dataset.settings.get("control", ""))}
    for digest in trees | named.trees:
        needed |= _files(workspace, digest)
    return needed | named.texts


def _files(workspace: Workspace, digest: str) -> set[str]:
    """Return a tree's manifest and files; nothing where an interrupted deletion got as far as the manifest."""
    if not workspace.blobs.has(digest):
        return set()
    return {digest, *(entry.sha256 for entry in fetch_manifest(workspace.blobs, digest).files.values())}


def _row(workspace: Workspace, version: Version, needed: set[str]) -> tuple[dict[str, Any], list[str]]:
    with workspace.database.read() as connection:
        state = {blob.blob for blob in inventory.state_of(connection, version.digest).values()}
    files = _files(workspace, version.digest)
    sizes = {e.sha256: e.size for e in fetch_manifest(workspace.blobs, version.digest).files.values()} if files else {}
    gone = sorted((files | state) - needed - {version.digest}) + ([version.digest] if version.digest in files else [])
    row = {
        "version": str(version.name),
        "digest": version.digest,
        "status": version.status,
        "blobs": len(gone),
        "bytes": sum(sizes.get(digest, 0) for digest in gone),
    }
    return row, gone


def _delete(workspace: Workspace, version: Version, blobs: list[str], actor: str, row: Mapping[str, Any]) -> None:
    """Delete everywhere, the manifest last and the ledger after that, so that a killed prune can be run again."""
    if version.mlflow_version is not None:
        workspace.registry.purge_version(version.model, int(version.mlflow_version), uri=version.mlflow_uri)
    workspace.cache.purge([version.digest, *blobs])
    workspace.scheduler.purge([version.digest, *blobs])
    for digest in blobs:
        workspace.blobs.delete(digest)
    with workspace.database.transaction() as connection:
        inventory.remove_state(connection, version.digest)
        lineage.set_status(connection, version.model, version.number, "purged")
        body = {"model": version.model, "version": version.number, "digest": version.digest, "bytes": row["bytes"]}
        workspace.record(connection, f"prune:{version.name}", Action.MODEL_PRUNED, body, actor)
