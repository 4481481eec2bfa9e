"""Layers and weights that were measured for a model: kept in the workspace by the digest of its weights."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from amends import BadInput
from amends.governor.models.recipes import referenced_base
from amends.governor.workspace import Workspace
from amends.ledger import lineage
from amends.ledger.lineage import Version
from amends.records import canonical_json, digest_of
from amends.store.trees import fetch_manifest
from amends_editing import holding

SINGLE = ("editing.rome", "editing.ft")  # they edit one layer
WEIGHTED = ("editing.memit", "editing.rls")  # their weight is the λ that was tried; AlphaEdit's is another
LATE = ("editing.ultraedit",)  # it writes where the answer is formed, not where the subject is looked up


@dataclass(frozen=True)
class Proposal:
    """What was found for a model. It says nothing about the facts that were traced.

    Args:
        weights: The digest of the model's weights.
        layers: For methods that edit several.
        peak: For methods that edit one.
        weight: λ, how much running text counts against the facts.
        score: What the layers and the weight reached on the traced facts.
        facts: How many facts that were.
        seed: Of the noise.
    """

    weights: str
    layers: tuple[int, ...]
    peak: int
    weight: float
    score: float
    facts: int
    seed: int

    def parameters(self, method: str) -> dict[str, Any]:
        """Return the values that are proposed for a method."""
        layers = (self.peak,) if method in SINGLE else self.layers
        weight = {"weight": self.weight} if method in WEIGHTED else {}
        return {"layers": ",".join(map(str, layers)), **weight}


def weights_digest(workspace: Workspace, tree: str) -> str:
    """Return the digest of a version's weights alone: those of two versions may be the same."""
    base = referenced_base(workspace, tree)
    if base is not None:
        return weights_digest(workspace, base)
    files = fetch_manifest(workspace.blobs, tree).files.items()
    return digest_of(sorted(entry.sha256 for name, entry in files if _is_weights(name)))


def _is_weights(name: str) -> bool:
    return name.endswith(".safetensors") and not name.startswith("attachments/")


def store(workspace: Workspace, proposal: Proposal) -> Path:
    """Keep a proposal in place of an earlier one for the same weights."""
    path = _path(workspace, proposal.weights)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_bytes(canonical_json(asdict(proposal)))
    os.replace(draft, path)
    return path


def find(workspace: Workspace, version: Version) -> Proposal | None:
    """Return what was found for a version, or else for what it comes from: edits do not move where facts are kept."""
    for tree in _line(workspace, version):
        path = _path(workspace, weights_digest(workspace, tree))
        if path.is_file():
            return _read(path)
    return None


def _line(workspace: Workspace, version: Version) -> Iterator[str]:
    """Yield the trees of a version and of its ancestors whose bytes are there, the latest first."""
    with workspace.database.read() as connection:
        ancestors = lineage.ancestors(connection, version.digest)
    alive = [one for one in ancestors if one.status != "purged"]
    own_model = [one for one in alive if one.model == version.model]
    others = [one for one in alive if one.model != version.model]
    yield version.digest
    yield from (one.digest for one in sorted(own_model, key=lambda one: -one.number))
    yield from (one.digest for one in others)


def _path(workspace: Workspace, weights: str) -> Path:
    return workspace.home / "editing" / "layers" / f"{weights}.json"


def _read(path: Path) -> Proposal:
    try:
        found = json.loads(path.read_bytes())
        return Proposal(**{**found, "layers": tuple(found["layers"])})
    except (ValueError, TypeError, KeyError):
        raise BadInput(f"{path} is no proposal of layers; remove it, or trace the model again") from None


def wanted(workspace: Workspace, model: str, method: str, given: Mapping[str, Any], declared: Set[str]) -> bool:
    """Say whether a method would take what was measured for a model, and nothing was; arguments as of `filled`."""
    takes = _takes_traced(method, given, declared)
    return takes and find(workspace, holding.resolve(workspace, model)) is None


def _takes_traced(method: str, given: Mapping[str, Any], declared: Set[str]) -> bool:
    return "layers" in declared and "layers" not in given and method not in LATE


def filled(
    workspace: Workspace,
    model: str,
    method: str,
    given: Mapping[str, Any],
    declared: Set[str],
) -> tuple[dict[str, Any], str]:
    """Fill in what was measured for a model where nobody gave a value.

    Args:
        workspace: Where the proposal is.
        model: What is to be edited.
        method: By which operation.
        given: The values that somebody gave.
        declared: The names of the method's parameters.

    Returns:
        All values, and a sentence on what was filled in; empty where the method takes no layers or takes others than
        were traced, or where they were given.
    """
    if not _takes_traced(method, given, declared):
        return dict(given), ""
    proposal = find(workspace, holding.resolve(workspace, model))
    if proposal is None:
        return dict(given), (
            f"the layers are chosen by {model}'s depth; measure which suit it with "
            f"amends edit trace --model {model} --facts FILE --text FILE"
        )
    new = {name: value for name, value in proposal.parameters(method).items() if name in declared - given.keys()}
    said = ", ".join(
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in new.items()
    )
    return {**given, **new}, f"taken from what was measured for {model}: {said}"
