"""Bring a base model in: a packaged one, a local Hugging Face directory, or a hub id."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amends.errors import BadInput
from amends.governor.models.recipes import RECIPE
from amends.governor.models.versions import Entry, enter
from amends.governor.workspace import Workspace
from amends.ledger import aliases, datasets, lineage
from amends.ledger.actions import Action
from amends.ledger.lineage import DataUse, Edge
from amends.records import ModelVersion, canonical_json
from amends.store.trees import put_tree

if TYPE_CHECKING:
    from amends.serving.importing import Base

PACKAGED = ("smollm2",)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def check_model_name(name: str) -> str:
    """Return a model's name.

    Raises:
        BadInput: It cannot be used in a reference such as `name@champion`.
    """
    if not NAME.fullmatch(name):
        raise BadInput(f"{name[:40]!r} is not a model's name; use letters, digits, dots, dashes and underscores")
    return name


def import_model(
    workspace: Workspace,
    source: str,
    *,
    name: str = "",
    licence: str = "",
    parent: str = "",
    trained_on: Sequence[str] = (),
) -> ModelVersion:
    """Import a model and register it with its licence, origin and digest.

    Args:
        workspace: Where to register it.
        source: `smollm2`, a directory, or a hub id such as `org/model`.
        name: The model's name; by default the last part of the source.
        licence: Its licence, where the source does not say.
        parent: `model@version` that it was trained from: declared, not observed.
        trained_on: Data sets (`name@digest`) that went into it: declared, not observed.

    Raises:
        BadInput: There is no such model, or it is not safetensors.
    """
    actor = workspace.require_role("operator", "ml-engineer")
    name = check_model_name(name or Path(source).name.lower())
    edges, uses = _declared(workspace, parent, trained_on)
    base, directory = _fetch(workspace, source)
    origin = {"source": base.origin, "sha256": base.sha256, "licence": licence or base.licence}
    recipe = {"schema": 1, "base": origin, "steps": []}
    digest = _tree(workspace, directory, recipe)
    entry = Entry(
        key=f"import-{name}-{digest[:16]}",
        model=name,
        digest=digest,
        recipe=recipe,
        parents=tuple(Edge(digest, up, "step", "declared") for up in edges),
        data=tuple(DataUse(digest, dataset, "train", "declared") for dataset in uses),
        tags={"amends.licence": origin["licence"], "amends.origin": origin["source"]},
    )
    version = enter(workspace, entry, Action.MODEL_IMPORTED, actor.id)
    workspace.say(f"imported {version}, {origin['licence']}, sha256 {digest[:12]}")
    return version


def _fetch(workspace: Workspace, source: str) -> tuple[Base, Path]:
    from amends.serving.importing import cached_base, find_packaged, import_directory, import_hub

    root = workspace.home / "cache" / "bases"
    if source in PACKAGED:
        base = find_packaged(source)
    elif Path(source).is_dir():
        base = import_directory(Path(source))
    else:
        base = import_hub(source, root)
    return base, cached_base(root, base, workspace.bar)


def _declared(workspace: Workspace, parent: str, trained_on: Sequence[str]) -> tuple[list[str], list[str]]:
    with workspace.database.read() as connection:
        edges = [aliases.resolve(connection, parent).digest] if parent else []
        return edges, [datasets.get(connection, reference).digest for reference in trained_on]


def _tree(workspace: Workspace, model: Path, recipe: dict[str, Any]) -> str:
    """Store a Hugging Face directory as `model/` of a version, without copying it first."""
    with workspace.cache.scratch("import") as version:
        (version / "model").mkdir()
        for file in sorted(model.iterdir()):
            if file.is_file():
                os.link(file.resolve(), version / "model" / file.name)
        (version / RECIPE).write_bytes(canonical_json(recipe))
        return put_tree(workspace.blobs, version)


def versions(workspace: Workspace, model: str | None = None) -> list[dict[str, Any]]:
    """Return every version with its aliases, for a list."""
    with workspace.database.read() as connection:
        found = lineage.versions_of(connection, model)
        names = {name: aliases.aliases_of(connection, name) for name in {version.model for version in found}}
    return [
        {
            "model": version.model,
            "version": version.number,
            "digest": version.digest,
            "status": str(version.status),
            "guarantee": version.guarantee,
            "aliases": sorted(a for a, number in names[version.model].items() if number == version.number),
        }
        for version in found
    ]
