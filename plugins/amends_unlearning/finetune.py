"""Fine-tune a whole model such that people can be taken out exactly: fixed steps, a log ahead of them, checkpoints.

What comes out depends on the base, the records, the settings and the seed only. A step's bits depend on its own
records alone: they are run in the order of their ids, padded to the longest of them, their loss is their own mean, and
what lies below the trained layers is computed one record at a time. A step that nobody falls into changes nothing, not
even the optimiser's count; the learning rate follows the step's number and moves on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from amends import BadInput, BadRecords, Records, Task
from amends.operation.descent import adamw, step_down
from amends.operation.parameters import check_positive

from . import lora
from .activations import Example, check_model, prepare
from .canaries import finetune_canaries
from .plan import Row, base_digest, checked
from .points import Point, give_back, read_point, taken
from .schedule import Schedule, Step, marks
from .training import loss_of, schedule, trainable
from .writeahead import WriteAhead, chain_at

PREFIX = "finetune/"
LOG = f"{PREFIX}log"


@dataclass(frozen=True)
class Settings:
    """What a fine-tune depends on besides its records.

    Args:
        salt: Key of the schedule.
        steps: Optimiser steps in an epoch, whatever the records.
        epochs: How often each record is taken.
        layers: How many top layers are trained.
        rank: Rank of the adapter; 0 trains these layers' linear weights themselves.
        lr: Peak learning rate of AdamW.
        checkpoints: How many checkpoints of the first epoch are kept for erasures.
        clip: Largest gradient norm.
        warmup: Share of the steps that the learning rate rises in, before it falls to zero.
    """

    salt: str
    steps: int
    epochs: int
    layers: int
    rank: int
    lr: float
    checkpoints: int
    clip: float = 1.0
    warmup: float = 0.1

    def __post_init__(self) -> None:
        """Refuse settings that train nothing.

        Raises:
            BadInput: One of them is out of range.
        """
        check_positive("training", **{name: getattr(self, name) for name in ("steps", "epochs", "layers", "lr")})
        for name in ("rank", "checkpoints"):
            if getattr(self, name) < 0:
                raise BadInput(f"{name} is {getattr(self, name)}; give it as zero or more")

    @property
    def schedule(self) -> Schedule:
        """Which records each step takes."""
        return Schedule(self.salt, self.epochs, self.steps)


def train(task: Task, records: Records, settings: Settings, canaries: int = 0) -> None:
    """Write the source's model, fine-tuned on all records and on so many canaries.

    Raises:
        BadInput: A parameter or the source cannot be used.
        BadRecords: There is nothing to train on.
    """
    rows = checked(records.rows())
    if not rows:
        raise BadRecords("there is no record to train on; register some")
    _run(task, [*rows, *finetune_canaries(settings.salt, canaries)], settings, reuse=False)


def rebuild(task: Task, records: Records, settings: Settings, canaries: int = 0, *, reuse: bool) -> None:
    """Write what `train` gives on the records that are left, which may be none.

    Args:
        task: Its source is what the fine-tune began from; its state may have the fine-tune's checkpoints.
        records: What is left.
        settings: Those of the fine-tune.
        canaries: How many people it planted.
        reuse: Begin from the last checkpoint that none of the erased had come before.

    Raises:
        BadInput: The source is not what the fine-tune began from.
    """
    _run(task, [*checked(records.rows()), *finetune_canaries(settings.salt, canaries)], settings, reuse=reuse)


def _run(task: Task, rows: Sequence[Row], settings: Settings, *, reuse: bool) -> None:
    if task.source is None:
        raise BadInput("a fine-tune needs a model to begin from; give the operation a source")
    base = base_digest(task.source)
    if reuse:
        _check_base(task, base)
    root = {"base": base, "seed": task.seed, "settings": asdict(settings)}
    total = settings.schedule.total
    steps = settings.schedule.lay_out(
        {str(row["id"]): [row["prompt"], row["answer"]] for row in rows},
        root,
        lambda number: settings.lr * schedule(number, total, settings.warmup),
        task.seed,
    )
    Finetune(task, rows, settings, steps, base, settings.schedule.beginning(root)).run(reuse)


def _check_base(task: Task, base: str) -> None:
    for name in points_of(task):
        if read_point(task.state.get(name)).more["base"] != base:
            raise BadInput("the source is not what this fine-tune began from; give the version before it as the source")


def points_of(task: Task) -> list[str]:
    """Return the names of a lineage's checkpoints, from the first to the last."""
    return [name for name in task.state.names() if name.startswith(f"{PREFIX}after-")]


class Learner:
    """The weights that learn, by name, and their optimiser."""

    def __init__(self, model: Any, settings: Settings, seed: int) -> None:
        depth = model.config.num_hidden_layers
        adapter = lora.fresh(model, settings.layers, settings.rank or 1, f"{seed}:finetune")  # refuses what cannot be
        self.adapter = adapter if settings.rank else None
        if settings.rank:
            self.weights: Mapping[str, Tensor] = adapter.weights
        else:
            found = lora.linears(model, tuple(range(depth - settings.layers, depth)))
            self.weights = {f"{name}.weight": module.weight for name, module in found}
        self._model, self._settings = model, settings
        ordered = [self.weights[name] for name in sorted(self.weights)]
        self.optimiser = adamw(ordered, settings.lr)

    @contextmanager
    def learning(self) -> Iterator[None]:
        """Let gradients flow into the weights while the context lasts."""
        if self.adapter is not None:
            with trainable(self.adapter), self.adapter.armed(self._model):
                yield
            return
        for tensor in self.weights.values():
            tensor.requires_grad_(True)
        yield

    def take(self, step: Step, examples: Sequence[Example]) -> None:
        """Take one step on its own records; without any it changes nothing."""
        if not examples:
            return
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(step.seed)
            self.optimiser.param_groups[0]["lr"] = step.lr
            loss = loss_of(self._model, examples, self._settings.layers)
            step_down(self.optimiser, self.weights.values(), loss, self._settings.clip)

    def tensors(self) -> dict[str, Tensor]:
        """Return weights and optimiser by name; the optimiser has nothing before its first step."""
        return taken(self.weights, self.optimiser)

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `tensors` gave."""
        give_back(self.weights, self.optimiser, tensors)

    def finish(self) -> None:
        """Bring what was learnt into the model's weights for good."""
        if self.adapter is not None:
            self.adapter.merge(self._model)


@dataclass
class Finetune:
    """One run over the steps that are left."""

    task: Task
    rows: Sequence[Row]
    settings: Settings
    steps: Sequence[Step]
    base: str
    beginning: str

    def run(self, reuse: bool) -> None:
        """Write the version, and beside it the log and the checkpoints that a later erasure needs."""
        model, tokenizer = self.task.load()
        check_model(model)
        learner = Learner(model, self.settings, self.task.seed)
        log = WriteAhead(self.task.scratch / "finetune", self.steps, self.beginning)
        point = self._begin(log, reuse)
        if point is not None:
            learner.restore(point.tensors)
        self._train(model, tokenizer, learner, log, point.position if point else 0)
        learner.finish()
        self.task.save(model, tokenizer)
        self.task.state.put(LOG, log.read())
        self._drop_others()

    def _begin(self, log: WriteAhead, reuse: bool) -> Point | None:
        clean = [self._clean(name) for name in points_of(self.task)] if reuse else []
        found = [point for point in clean if point is not None]
        interrupted = log.interrupted()
        if interrupted is not None:  # what the killed attempt had put into the state went with it
            passed = [position for position in self._marks if position <= interrupted.position]
            for position in passed:
                self.task.state.put(_name_of(position), log.kept(_file_of(position)))
            found.append(interrupted)
        return max(found, key=lambda point: point.position, default=None)

    def _clean(self, name: str) -> Point | None:
        """Return a checkpoint of the lineage, if training on just these records would have come to it."""
        point = read_point(self.task.state.get(name))
        fits = point.chain == chain_at(self.steps, self.beginning, point.position)
        return point if fits else None

    def _train(self, model: Any, tokenizer: Any, learner: Learner, log: WriteAhead, start: int) -> None:
        total = len(self.steps)
        needed = {identity for step in self.steps[start:] for identity in step.ids}
        examples = {}
        for row in self.rows:
            self.task.progress(start, total, "reading the records")
            if row["id"] in needed:
                examples[row["id"]] = prepare(model, tokenizer, row, self.settings.layers)
        log.begin(start)
        resumable = math.ceil(self.settings.steps / 4)
        with learner.learning():
            for step in self.steps[start:]:
                self.task.progress(step.number, total, f"epoch {step.number // self.settings.steps + 1}")
                log.write(step)
                learner.take(step, [examples[identity] for identity in step.ids])
                position = step.number + 1
                if position not in self._marks and position % resumable:
                    continue
                point = Point(position, step.chain, learner.tensors(), {"base": self.base})
                if position in self._marks:
                    self.task.state.put(_name_of(position), point.to_bytes())
                    log.keep(point, _file_of(position))
                log.keep(point)

    @property
    def _marks(self) -> tuple[int, ...]:
        return marks(self.settings.steps, self.settings.checkpoints)

    def _drop_others(self) -> None:
        """Forget every checkpoint that is not of this training."""
        kept = {_name_of(position) for position in self._marks} | {LOG}
        for name in self.task.state.names():
            if name.startswith(PREFIX) and name not in kept:
                self.task.state.drop(name)


def _name_of(position: int) -> str:
    return f"{PREFIX}after-{position:06d}"


def _file_of(position: int) -> str:
    return f"after-{position:06d}"
