"""A version's recipe: read it, write it into a tree, and follow it back to where it started."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from amends.governor.workspace import Workspace
from amends.ledger import lineage
from amends.operation.files import REFERENCE
from amends.records import canonical_json
from amends.store.digests import digest_bytes
from amends.store.trees import Entry, Manifest, fetch_manifest

RECIPE = "recipe.json"


def read_recipe(workspace: Workspace, tree: str) -> dict[str, Any]:
    """Return the recipe of a version's tree."""
    manifest = fetch_manifest(workspace.blobs, tree)
    recipe: dict[str, Any] = json.loads(workspace.blobs.get(manifest.files[RECIPE].sha256))
    return recipe


def write_recipe(workspace: Workspace, tree: str, recipe: Mapping[str, Any]) -> str:
    """Return the digest of the tree with this recipe in it; the other files stay as they are."""
    data = canonical_json(recipe)
    files = dict(fetch_manifest(workspace.blobs, tree).files)
    files[RECIPE] = Entry(digest_bytes(data), len(data))
    workspace.blobs.put_bytes(data)
    return str(workspace.blobs.put_bytes(Manifest(files).to_bytes()))


def referenced_base(workspace: Workspace, tree: str) -> str | None:
    """Return the base that a version's weights are a reference to, or None where it carries its own."""
    entry = fetch_manifest(workspace.blobs, tree).files.get(f"model/{REFERENCE}")
    return None if entry is None else str(json.loads(workspace.blobs.get(entry.sha256))["base"])


def base_of(workspace: Workspace, digest: str) -> str:
    """Return the version that the first step of a version's recipe started from: before any training here."""
    with workspace.database.read() as connection:
        for version in lineage.ancestors(connection, digest):
            if not version.recipe.get("steps"):
                return version.digest
    return digest
