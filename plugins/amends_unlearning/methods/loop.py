"""What every approximate method does alike: step on a loss, rehearse what is kept, and stop when it is enough.

Enough is told by readings, not by a number of steps: on the method's own half of the records, the forgotten answers
have to come down to where a model that never learnt them has them, and no further, while what is kept stays. The other
half is the audit's, which a method that stopped by it would have used up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from amends import BadInput, BadRecords, Records, Task
from amends.operation.descent import adamw, step_down
from amends.operation.files import load_model

from ..activations import Example, answer_logp, check_model, prepare
from ..lora import seed_of
from ..plan import checked
from ..planted import halves, planted_in
from ..settings import check_positive
from ..training import loss_of
from ..watching import Heed, Watched, heeding, nobody, watched
from . import Weights
from .adapting import Change, change_of, copied, put_back, training
from .gauge import Gauge, Nearest, gauge_of
from .resuming import Resumable

Row = Mapping[str, Any]

POSITIVE = ("epochs", "lr", "layers", "rank", "batch", "near", "spare")
HALVINGS = 4  # looks between a state that was not enough and one that was too much
LEAST = 0.1  # of the learning rate, where a way back ends
SPARED = 128  # kept records whose inputs an adapter is kept clear of


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

    def example(self, row: Row) -> Example:
        """Prepare one more record."""
        self.heed()
        return prepare(self.model, self.tokenizer, row, self.layers)


class Rehearsed:
    """Records to keep, each prepared when it is first asked for: of many, a run needs few."""

    def __init__(self, model: Any, tokenizer: Any, rows: Sequence[Row], layers: int, heed: Heed) -> None:
        self._model, self._tokenizer, self._rows, self._layers, self._heed = model, tokenizer, rows, layers, heed
        self._made: dict[int, Example] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Example:
        self._heed()
        if index not in self._made:
            self._made[index] = prepare(self._model, self._tokenizer, self._rows[index], self._layers)
        return self._made[index]

    def few(self, most: int) -> Sequence[Example]:
        """Return the first of them, at most so many."""
        return Watched([self[place] for place in range(min(len(self), most))], self._heed)


Loss = Callable[[Sequence[int]], Tensor]
Objective = Callable[[Material], Loss]
"""From the material to the loss of some forgotten records, given by their places."""


def unlearn(
    task: Task,
    forget: Records,
    retain: Records,
    settings: Settings,
    objective: Objective,
    control: Records | None = None,
) -> None:
    """Write the source's model after as many steps as it takes.

    Args:
        task: Whose source is changed; its model `reference`, where it has one, is the pre-training parent, which
            tells the level to reach.
        forget: What is to be forgotten.
        retain: What is rehearsed.
        settings: How.
        objective: The method's own.
        control: Withheld people's records, which tell how that level moves, or where there is no parent what it is.

    Raises:
        BadRecords: There is nothing to forget, or nothing to keep.
        AmendsError: A loss or a reading is not finite.
    """
    material, settings = gather(task, forget, retain, settings)
    gauge = gauge_of(material, settings, control)
    material.drift = gauge.level.drift
    loss_of_lost = objective(material)
    material.never = None  # a second model that nobody needs any more
    is_sparing = settings.retain_weight > 0 and settings.weights == "adapter"
    spared = material.kept.few(SPARED) if is_sparing else []
    change = change_of(material.model, settings.layers, settings.rank, settings.weights, material.seed, spared)
    descend(task, material, change, settings, loss_of_lost, gauge)
    change.settle(material.model)
    task.save(material.model, material.tokenizer)


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
    examples = Watched(list(_prepared(task, model, tokenizer, lost, settings.layers)), heed)
    material = Material(
        model, tokenizer, settings.layers, examples, rehearsed, (lost, kept), f"{task.seed}:unlearning", heed=heed
    )  # fmt: skip
    material.never = _parent(task, material)
    return material, settings


def _prepared(task: Task, model: Any, tokenizer: Any, rows: Sequence[Row], layers: int) -> Iterator[Example]:
    for row in rows:
        task.progress(0, len(rows), "reading the records")
        yield prepare(model, tokenizer, row, layers)


def descend(
    task: Task, material: Material, change: Change, settings: Settings, loss_of_lost: Loss, gauge: Gauge
) -> None:
    """Train the change until the gauge says enough, and leave it where it was best.

    Best is nearest to the level among the states in which the kept had not lost too much; the untouched model is one.

    Raises:
        AmendsError: A loss or a reading is not finite.
    """
    optimiser = adamw(change.parameters(), settings.lr)
    steps = list(steps_of(len(material.lost), len(material.kept), settings, material.seed))
    with training(change):
        best = Nearest(gauge, copied(change))
        run = Resumable(task, material, settings, change, optimiser, best)
        done, before = run.begin(), copied(change)
        for number, (lost, kept) in enumerate(steps[done:], start=done + 1):
            task.progress(number - 1, len(steps), "unlearning")
            if settings.returns:
                optimiser.param_groups[0]["lr"] = settings.lr * falling(number / len(steps))
            with change.armed(material.model):
                loss = loss_of_lost(lost)
                if settings.retain_weight:
                    rehearsed = loss_of(material.model, [material.kept[place] for place in kept], settings.layers)
                    loss = loss + settings.retain_weight * rehearsed
                step_down(optimiser, change.parameters(), loss)
            if number % gauge.every() and number < len(steps):
                continue
            above, fallen = best.look(lambda: copied(change), change)
            if gauge.is_enough(above, fallen):
                if above < -settings.near:
                    narrow(change, best, before, settings.near)
                break
            run.keep(number)
            before = copied(change)
    put_back(change, best.state)


def narrow(change: Change, best: Nearest[list[Tensor]], before: list[Tensor], near: float) -> None:
    """Look on the straight way from a state that was not enough to the change's own, which is too much, by halves."""
    beyond, low, high = copied(change), 0.0, 1.0
    for _ in range(HALVINGS):
        share = (low + high) / 2
        put_back(change, [old + share * (new - old) for old, new in zip(before, beyond, strict=True)])
        above, _ = best.look(lambda: copied(change), change)
        if abs(above) <= near:
            return
        low, high = (share, high) if above > 0 else (low, share)


def falling(share: float) -> float:
    """Return the share of the learning rate when so much of the steps is done: half a cosine, to `LEAST`."""
    return LEAST + (1 - LEAST) * 0.5 * (1 + math.cos(math.pi * share))


def _parent(task: Task, material: Material) -> Material | None:
    if "reference" not in task.models:
        return None
    model, tokenizer = load_model(task.models["reference"], task.device)
    check_model(model)
    lost = [prepare(model, tokenizer, row, material.layers) for row in watched(material.rows[0], material.heed)]
    return replace(material, model=model, tokenizer=tokenizer, lost=lost)


def steps_of(lost: int, kept: int, settings: Settings, seed: str) -> Iterator[tuple[list[int], list[int]]]:
    """Yield for each step which records to forget and which to rehearse; every record to keep has its turn."""
    generator = torch.Generator().manual_seed(seed_of(f"{seed}:order"))
    queue: list[int] = []
    for _ in range(settings.epochs):
        order = torch.randperm(lost, generator=generator).tolist()
        for start in range(0, lost, settings.batch):
            while len(queue) < settings.batch:
                queue += torch.randperm(kept, generator=generator).tolist()
            yield order[start : start + settings.batch], queue[: settings.batch]
            queue = queue[settings.batch :]


def sequence_logp(model: Any, examples: Sequence[Example], layers: int) -> Tensor:
    """Return the log-likelihood of each whole answer, in nats, shape (batch,)."""
    logp, owner = answer_logp(model, examples, layers)
    return torch.zeros(len(examples), device=logp.device).index_add(0, owner, logp)


def by_token(logp: Tensor, examples: Sequence[Example]) -> Tensor:
    """Return log-likelihoods of whole answers as means over their tokens, shape (batch,)."""
    return logp / torch.tensor([len(example.answer) for example in examples], device=logp.device)
