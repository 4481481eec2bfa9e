"""What an approximate method works with: its settings, the records to forget and to keep, and both models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from amends import BadInput, BadRecords, Records, Task
from amends.operation.files import load_model
from amends.operation.parameters import check_positive
from amends.serving.encoding import end_of

from ..activations import Example
from ..packed import check_model, prepare_all
from ..plan import checked
from ..planted import halves, planted_in
from ..settings import Weights
from ..watching import Heed, Watched, heeding, nobody

Row = Mapping[str, Any]

READ = 8  # records that are read at once, between two looks at whether to go on
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
        never: The same of the pre-training parent, until the loss has what it needs of it; None where there is none.
        sees_alike: Of that parent: below the adapted layers it is the source, so that what one reads the other has.
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
    sees_alike: bool = False
    drift: float = 0.0
    heed: Heed = nobody

    def examples(self, rows: Sequence[Row]) -> list[Example]:
        """Prepare more records."""
        return list(_prepared(self.model, self.tokenizer, rows, self.layers, self.heed))


class Rehearsed:
    """Records to keep, each prepared when it is first asked for, with those expected next: of many, a run needs few.

    Which ones are prepared together follows from what is expected, and not from what is asked for when: a run that
    goes on after a kill has the same numbers.
    """

    def __init__(self, model: Any, tokenizer: Any, rows: Sequence[Row], layers: int, heed: Heed) -> None:
        self._model, self._tokenizer, self._rows, self._layers, self._heed = model, tokenizer, rows, layers, heed
        self._made: dict[int, Example] = {}
        self._order: dict[int, int] = {}

    def expect(self, places: Iterable[int]) -> None:
        """Say what will be asked for, in that order, after what was expected before."""
        for place in places:
            self._order.setdefault(place, len(self._order))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Example:
        self._heed()
        if index not in self._made:
            places = self._beside(index)
            rows = [self._rows[place] for place in places]
            examples = prepare_all(self._model, self._tokenizer, rows, self._layers)
            self._made |= dict(zip(places, examples, strict=True))
        return self._made[index]

    def _beside(self, index: int) -> list[int]:
        if index not in self._order:
            return [index]
        first = self._order[index] // READ * READ
        return list(self._order)[first : first + READ]

    def few(self, most: int) -> Sequence[Example]:
        """Return the first of them, at most so many."""
        return Watched([self[place] for place in range(min(len(self), most))], self._heed)


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
    task.progress(0, len(lost), "reading the records")
    examples = Watched(list(_prepared(model, tokenizer, lost, settings.layers, heed)), heed)
    material = Material(
        model, tokenizer, settings.layers, examples, rehearsed, (lost, kept), f"{task.seed}:unlearning", heed=heed
    )  # fmt: skip
    material.never = _parent(task, material)
    return material, settings


def _prepared(model: Any, tokenizer: Any, rows: Sequence[Row], layers: int, heed: Heed) -> Iterator[Example]:
    for start in range(0, len(rows), READ):
        heed()
        yield from prepare_all(model, tokenizer, rows[start : start + READ], layers)


def _parent(task: Task, material: Material) -> Material | None:
    if "reference" not in task.models:
        return None
    model, tokenizer = load_model(task.models["reference"], task.device)
    check_model(model)
    parent = replace(material, model=model, tokenizer=tokenizer)
    parent.sees_alike = _is_same_below(parent, material)
    parent.lost = material.lost if parent.sees_alike else parent.examples(material.rows[0])
    return parent


def _is_same_below(one: Material, other: Material) -> bool:
    """Whether two models read texts as the same tokens, and do the same with them below the adapted layers."""
    if _told(one) != _told(other):
        return False
    bodies = [side.model.get_decoder() for side in (one, other)]
    modules = [(body.embed_tokens, *body.layers[: len(body.layers) - one.layers]) for body in bodies]
    pairs = zip(*([p for module in some for p in module.parameters()] for some in modules), strict=True)
    return all(torch.equal(first, second) for first, second in pairs)


def _told(side: Material) -> object:
    config = side.model.config.to_dict()
    return {**config, "_name_or_path": ""}, side.tokenizer.backend_tokenizer.to_str(), end_of(side.tokenizer)
