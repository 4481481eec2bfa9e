"""Enter a version everywhere it must stand: MLflow, the ledger's lineage, the audit log."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from amends.governor.models.signatures import sign_version
from amends.governor.workspace import Workspace
from amends.ledger import inventory, lineage
from amends.ledger.actions import Action
from amends.ledger.inventory import StateBlob
from amends.ledger.lineage import DataUse, Edge, Version
from amends.records import Guarantee, ModelVersion
from amends.store.trees import fetch_manifest


@dataclass(frozen=True)
class Entry:
    """A version about to be entered; `key` makes entering it twice the same as once."""

    key: str
    model: str
    digest: str
    recipe: Mapping[str, Any]
    parents: tuple[Edge, ...] = ()
    data: tuple[DataUse, ...] = ()
    state: Mapping[str, str] | None = None
    lineage: str = ""
    guarantee: Guarantee | None = None
    case: str | None = None
    tags: Mapping[str, str] | None = None


def enter(workspace: Workspace, entry: Entry, action: Action, actor: str) -> ModelVersion:
    """Register a version in MLflow and the ledger; the same key gives the same version again."""
    registered = _register(workspace, entry)
    number = int(registered.version)
    version = Version(
        entry.model, number, entry.digest, dict(entry.recipe), guarantee=entry.guarantee, case_id=entry.case
    )
    body = {
        "model": entry.model,
        "version": number,
        "digest": entry.digest,
        "parents": [e.parent for e in entry.parents],
    }
    with workspace.database.transaction() as connection:
        lineage.add_version(connection, version, entry.parents, entry.data)
        lineage.set_mlflow(
            connection,
            entry.model,
            number,
            version=str(registered.version),
            model_id=registered.model_id,
            run_id="",
            uri=registered.uri,
        )
        inventory.add_state(
            connection,
            [StateBlob(entry.digest, name, blob, entry.lineage) for name, blob in (entry.state or {}).items()],
        )
        workspace.record(connection, f"version:{entry.key}", action, body, actor)
    sign_version(workspace, entry.digest)
    return ModelVersion(entry.model, number, entry.digest)


def _register(workspace: Workspace, entry: Entry) -> Any:
    """Hand the version's files, copied beside their MLmodel, to MLflow."""
    from amends.serving.flavors import write_mlmodel

    tree = workspace.cache.tree(entry.digest)
    manifest = fetch_manifest(workspace.blobs, entry.digest)
    with workspace.cache.scratch("register") as folder:
        directory = folder / "version"
        for name in manifest.files:
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(tree / name, directory / name)
        write_mlmodel(directory)
        tags = {"amends.digest": entry.digest, **(entry.tags or {})}
        about = "" if entry.case is None else of_case(entry.case)
        return workspace.registry.register_version(
            entry.model, directory, manifest, key=entry.key, tags=tags, description=about
        )


def of_case(case: str, page: str = "") -> str:
    """Return what MLflow says of a version: the case that made it, linked to the case's run once there is one."""
    name = f"[`{case}`]({page})" if page else f"`{case}`"
    return f"Made by case {name}; `amends cases show {case}` has everything."
