"""How deep a version is, before it is loaded: what its configuration says, and the layers that it does not have."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from amends.governor.models.recipes import referenced_base
from amends.governor.workspace import Workspace
from amends.store.trees import fetch_manifest
from amends_editing import holding
from amends_editing.settings import block_of, layers_of, named_layers

CONFIGS = ("model/config.json", "config.json")  # of a version, and of a base that is weights alone
NAMES = ("num_hidden_layers", "n_layer")  # GPT-2 has the second


def depth_of(workspace: Workspace, tree: str) -> int | None:
    """Return how many blocks a version has by its configuration; None where that does not say.

    Args:
        workspace: Where the version is.
        tree: Its digest.
    """
    files = fetch_manifest(workspace.blobs, referenced_base(workspace, tree) or tree).files
    found = next((files[name] for name in CONFIGS if name in files), None)
    if found is None:
        return None
    config = json.loads(workspace.blobs.get(found.sha256))
    both = config, config.get("text_config") or {}  # what reads pictures, too, keeps its language model's apart
    depths = (one.get(name) for one in both for name in NAMES)
    return next((depth for depth in depths if isinstance(depth, int)), None)


def check_layers(workspace: Workspace, model: str, given: Mapping[str, Any]) -> None:
    """Refuse layers that a version does not have, as the worker would.

    Args:
        workspace: Where the version is.
        model: The version, by any reference.
        given: The values of an editing operation's parameters: `layers` of the methods that take several, or `layer`.

    Raises:
        BadInput: It has no such layer; where the configuration does not say how deep it is, the worker finds out.
    """
    layers, layer = given.get("layers"), given.get("layer")
    depth = depth_of(workspace, holding.resolve(workspace, model).digest) if layers or layer is not None else None
    if depth is None:
        return
    if layers:
        layers_of(named_layers(layers), depth)
    if layer is not None:
        block_of(layer, depth)
