"""What an approximate method works with: its settings, the records to forget and to keep, and both models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from amends import BadInput, BadRecords, Records, Task
from amends.operation.files import load_model
from amends.operation.parameters import check_positive

from ..activations import Example
from ..packed import check_model
from ..plan import checked
from ..planted import halves, planted_in
from ..settings import Weights
from ..watching import Heed, Watched, heeding, nobody
from .reading import Rehearsed, read_all, read_by_both

Row = Mapping[str, Any]

POSITIVE = ("epochs", "lr", "layers", "rank", "batch", "near", "spare")


@dataclass(frozen=True)
class Settings:
    """How strongly and how long to unlearn.

    Args:
        epochs: Passes over the records to forget, at most.
        lr: Learning rate of AdamW.
        layers: How many top layers are adapted; all, where the model has no more.
        rank: Rank of the adapter.
        batch: Records to forget, and as many to keep, in each step.
        retain_weight: Weight of the loss of the records to keep.
        weights: Train an adapter that is merged at the end, or the layers' own weights.
        near: Nats a token within which the forgotten answers are at their level.
        spare: Nats a token that the kept answers may lose.
        method: The method's name and its own parameters; a checkpoint of another is not gone on from.
        returns: The loss has its least where the forgotten should be, so that the steps may get smaller until all has
            settled; a loss that pushes on is stopped on its way.
    """

    epochs: int
    lr: float
    layers: int
    rank: int
    batch: int
    retain_weight: float
    weights: Weights = "adapter"
    near: float = 0.1
    spare: float = 0.05
    method: tuple[str | float, ...] = ()
    returns: bool = False

    def __post_init__(self) -> None:
        """Refuse settings that unlearn nothing.

        Raises:
            BadInput: One of them is not above zero.
        """
        check_positive("unlearning", **{name: getattr(self, name) for name in POSITIVE})
        if not self.retain_weight >= 0:
            raise BadInput(f"retain_weight is {self.retain_weight}; it cannot be below zero")


@dataclass
class Material:
    """What a method works with.

    Args:
        model: The source's; frozen but for the change.
        tokenizer: Its tokenizer.
        layers: How many top layers run in every step.
        lost: The records to forget, as the adapted layers see them.
        kept: The records to keep, prepared when they are first needed.
        rows: The records to forget as they are, and those to keep.
        seed: Of every draw.
        never: The same of the pre-training parent, no layer of which runs any more, until the loss has what it needs of
            it; None where there is none.
        drift: What the training since that parent added to answers about withheld people, in nats a token.
        heed: Raises where the task is to stop; every loop over records asks it.
    """

    model: Any
    tokenizer: Any
    layers: int
    lost: Sequence[Example]
    kept: Rehearsed
    rows: tuple[Sequence[Row], Sequence[Row]] = field(repr=False)
    seed: str
    never: Material | None = None
    drift: float = 0.0
    heed: Heed = nobody

    def examples(self, rows: Sequence[Row]) -> list[Example]:
        """Prepare more records."""
        return read_all(self.model, self.tokenizer, rows, self.layers, self.heed)

    def with_parents(self, rows: Sequence[Row]) -> tuple[list[Example], list[Example]]:
        """Prepare more records for this model, and to the top for its parent, if it has one."""
        if self.never is None:
            return self.examples(rows), []
        return read_by_both(
            (self.model, self.tokenizer), (self.never.model, self.never.tokenizer), rows, self.layers, self.heed
        )


Loss = Callable[[Sequence[int]], Tensor]
Objective = Callable[[Material], Loss]
"""From the material to the loss of some forgotten records, given by their places."""


def gather(task: Task, forget: Records, retain: Records, settings: Settings) -> tuple[Material, Settings]:
    """Load the source and its pre-training parent, check them and the records, and prepare what is to be forgotten.

    Half of the source's canaries are forgotten as well and the others kept, so that an audit can be tried on both.

    Raises:
        BadRecords: There is nothing to forget, or nothing to keep.
    """
    model, tokenizer = task.load()
    check_model(model)
    settings = replace(settings, layers=min(settings.layers, model.config.num_hidden_layers))
    lost, kept = (sorted(checked(records.rows()), key=lambda row: str(row["id"])) for records in (forget, retain))
    if not lost or not kept:
        raise BadRecords("unlearning needs records to forget and records to keep; give it both")
    if task.source is not None:
        going, staying = halves(planted_in(task.source).left)
        lost, kept = [*lost, *going], [*kept, *staying]
    heed = heeding(task)
    rehearsed = Rehearsed(model, tokenizer, kept, settings.layers, heed)
    material = Material(
        model, tokenizer, settings.layers, (), rehearsed, (lost, kept), f"{task.seed}:unlearning", heed=heed
    )  # fmt: skip
    material.never = _parent(task, material)
    task.progress(0, len(lost), "reading the records")
    own, parents = material.with_parents(lost)
    material.lost = Watched(own, heed)
    if material.never is not None:
        material.never.lost = Watched(parents, heed)
    return material, settings


def _parent(task: Task, material: Material) -> Material | None:
    if "reference" not in task.models:
        return None
    model, tokenizer = load_model(task.models["reference"], task.device)
    check_model(model)
    return replace(material, model=model, tokenizer=tokenizer, layers=0)
