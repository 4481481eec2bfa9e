"""Look into versions of a workspace through the lens, as far as who asks may; what `commands` calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from amends import BadInput
from amends.cli.tables import Table
from amends.governor.models.asking import served_version, verified_tree
from amends.governor.workspace import Workspace
from amends.ledger import lineage
from amends.ledger.lineage import Version
from amends.operation.files import load_model
from amends.scheduler.steady import steady
from amends_distillation.transfer.anatomy import anatomy_of
from amends_distillation.transfer.lensing import Layer, Reader, changed_layers, words_of
from amends_distillation.transfer.vocabulary import lens_of

SEES = ("dpo", "operator", "ml-engineer")  # tokens may be personal data: who registers data may read them
HIDDEN = "tokens may be personal data and are shown to a dpo, an operator or an ml-engineer"


@dataclass(frozen=True)
class Look:
    """What is asked.

    Args:
        layers: Which layers; empty takes those that changed most.
        neurons: Which neurons of the one layer; empty takes those that changed most.
        top: Tokens of a vector.
        most: Layers, directions and neurons at most.
    """

    layers: tuple[int, ...]
    neurons: tuple[int, ...]
    top: int
    most: int

    def __post_init__(self) -> None:
        """Refuse neurons of no one layer.

        Raises:
            BadInput: Neurons are named and not exactly one layer.
        """
        if self.neurons and len(self.layers) != 1:
            raise BadInput("a neuron belongs to one layer; say which with --layer")


@dataclass(frozen=True)
class Seen:
    """What was seen.

    Args:
        version: Which version.
        against: The version before, or empty.
        layers: The layers that are shown.
        others: How many layers more changed.
        with_tokens: Whether who asks may read tokens.
    """

    version: str
    against: str
    layers: tuple[Layer, ...]
    others: int
    with_tokens: bool

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        layers = [
            {"layer": one.number, "change": one.change, "vectors": [v.to_json(self.with_tokens) for v in one.vectors]}
            for one in self.layers
        ]
        told = {name: value for name, value in asdict(self).items() if name in ("version", "against", "others")}
        return {**told, "layers": layers, "tokens": "shown" if self.with_tokens else HIDDEN}

    def parts(self) -> list[str | Table]:
        """Return it as sentences and tables."""
        beside = f" beside {self.against}" if self.against else ""
        found: list[str | Table] = [f"value vectors of {self.version}{beside}, read in its vocabulary"]
        if not self.with_tokens:
            found.append(HIDDEN)
        if not self.layers:
            found.append("no layer's value vectors differ; what was changed stands elsewhere, or beside the weights")
        for layer in self.layers:
            change = f": changed by {layer.change:.2%} of its length" if self.against else ""
            found += [f"layer {layer.number}{change}", self._table(layer)]
        return [*found, f"{self.others} more layers changed; name them with --layer"] if self.others else found

    def _table(self, layer: Layer) -> Table:
        columns = ("vector", "share", "cosine", "makes likelier", "before, or at the other end")
        rows = [
            (f"{v.kind} {v.number}", f"{v.share:.3f}", v.cosine, self.side(v.towards), self.side(v.away))
            for v in layer.vectors
        ]
        return Table(columns, rows, "nothing changed here")

    def side(self, tokens: Sequence[tuple[str, float]]) -> str | None:
        """Return tokens as one line for a table, or None for who may not read them."""
        return "  ".join(token for token, _ in tokens) if self.with_tokens else None


def look(workspace: Workspace, reference: str, against: str, asked: Look) -> Seen:
    """Look at a version's value vectors, beside those of another, or of the version that it was made from.

    Raises:
        BadInput: They are not of one build, or a layer or neuron is not there.
        Denied: A version is sealed.
    """
    version = served_version(workspace, reference)
    other = served_version(workspace, against) if against else made_from(workspace, version)
    trees = [verified_tree(workspace, one.digest) for one in (version, other) if one is not None]
    with steady(workspace.settings.cpus, 0, torch_needed=True):
        layers, others = _read(trees, asked)
    return Seen(str(version.name), "" if other is None else str(other.name), layers, others, workspace.has_role(*SEES))


def made_from(workspace: Workspace, version: Version) -> Version | None:
    """Return the version that a step began from, where it still stands."""
    with workspace.database.read() as connection:
        steps = [edge.parent for edge in lineage.parents(connection, version.digest) if edge.kind == "step"]
        standing = [one for digest in steps for one in lineage.by_digest(connection, digest) if one.status == "active"]
    return standing[0] if standing else None


def _read(trees: Sequence[Path], asked: Look) -> tuple[tuple[Layer, ...], int]:
    model, tokenizer = load_model(trees[0])
    after = anatomy_of(model)
    before = anatomy_of(load_model(trees[1])[0]) if len(trees) > 1 else None
    for layer in asked.layers:
        if not 0 <= layer < after.depth:
            raise BadInput(f"there is no layer {layer}; the model has 0 to {after.depth - 1}")
    reader = Reader(lens_of(after), words_of(tokenizer), asked.top, asked.most)
    if before is None:
        chosen = asked.layers or (after.depth - 1,)
        return tuple(reader.alone(after, layer, asked.neurons) for layer in chosen), 0
    changed = list(changed_layers(after, before))
    chosen = asked.layers or tuple(changed[: asked.most])
    shown = tuple(reader.compare(after, before, layer, asked.neurons) for layer in chosen)
    return shown, len(set(changed) - set(chosen))
