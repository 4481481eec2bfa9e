"""Record a run of `transformers.Trainer`, so that people can be taken out of what it trained, exactly.

The recorder brings the sampler, which fixes each record's step, and listens to the Trainer, whose own optimiser and
scheduler take the steps. Replayed means: the same script on the remaining records, begun at the last checkpoint that
none of the erased had come before. Its bytes are those of the same script, recorder and seed on records that never had
them, on one software stack with one number of threads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import TrainerCallback

from amends import BadInput, BadRecords
from amends.records import digest_of

from .points import Point, read_point
from .schedule import Schedule, Step, marks
from .writeahead import WriteAhead, chain_at

ARGUMENTS = (
    "learning_rate", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm", "optim",
    "lr_scheduler_type", "warmup_steps", "seed", "num_train_epochs", "bf16", "fp16", "label_smoothing_factor",
    "lr_scheduler_kwargs", "optim_args", "optim_target_modules", "neftune_noise_alpha", "torch_compile",
    "torch_compile_backend", "torch_compile_mode", "use_liger_kernel",
)  # fmt: skip
PLACES = ("_name_or_path", "transformers_version")  # of a model's configuration: where it lay, and who wrote it


class TrainingRecorder(TrainerCallback):  # type: ignore[misc]  # transformers leaves its base untyped
    """Fixes which records each step of a Trainer takes, logs each before it is taken, and keeps checkpoints.

    Args:
        directory: Where log and checkpoints lie. They are personal data and not encrypted.
        ids: The id of each record of the training set, in its order; keyed, so that nobody can guess them.
        salt: Key of the schedule; a replay takes the same.
        steps: Optimiser steps in an epoch, whatever the records.
        checkpoints: How many checkpoints of the first epoch are kept.
    """

    def __init__(self, directory: Path, ids: Sequence[str], *, salt: str, steps: int, checkpoints: int = 4) -> None:
        if not ids:
            raise BadRecords("there is no record to train on; where nobody is left, take the base")
        if len(set(ids)) != len(ids):
            raise BadRecords("two records have one id; give each record an id of its own")
        self.directory, self.ids = Path(directory), tuple(ids)
        self._salt, self._per_epoch, self._checkpoints = salt, steps, checkpoints
        self._from: Path | None = None

    def attach(self, trainer: Any, *, replay_from: Path | None = None) -> Any:
        """Make a Trainer take its batches from the schedule, and return it.

        Args:
            trainer: Built as usual on the records whose ids were given.
            replay_from: The directory of an earlier run, to begin from its last checkpoint that is clean.

        Raises:
            BadInput: The Trainer is set up in a way that the schedule cannot hold.
        """
        _check(trainer)
        if len(trainer.train_dataset) != len(self.ids):
            raise BadInput(f"{len(self.ids)} ids for {len(trainer.train_dataset)} records; give one for each")
        self._trainer, self._from = trainer, replay_from
        self._schedule = Schedule(self._salt, int(trainer.args.num_train_epochs), self._per_epoch)
        trainer.add_callback(self)
        trainer.get_train_dataloader = self._loader
        return trainer

    def begins(self) -> int:
        """Return after how many steps the run will begin; above 0 where there is a checkpoint of this very training."""
        self._prepare()
        return self._moved

    def _loader(self) -> DataLoader[Any]:
        self._prepare()
        trainer = self._trainer
        return DataLoader(trainer.train_dataset, batch_sampler=self.sampler, collate_fn=trainer.data_collator)

    def _prepare(self) -> None:
        """Lay the steps out and find where to begin; the weights are the base's still."""
        trainer, dataset = self._trainer, self._trainer.train_dataset
        arguments = {name: str(getattr(trainer.args, name)) for name in ARGUMENTS}
        root = {"base": _weights_digest(trainer.model), "arguments": arguments, "config": _config(trainer.model)}
        contents = {identity: _content(dataset[index]) for index, identity in enumerate(self.ids)}
        self._steps = self._schedule.lay_out(contents, root, lambda number: 0.0, trainer.args.seed)
        self._beginning = self._schedule.beginning(root)
        self._log = WriteAhead(self.directory, self._steps, self._beginning)
        self._point = max(self._points(), key=lambda point: point.position, default=None)
        start = self._point.position if self._point else 0
        self._log.begin(start)
        self.sampler = FixedSlots(self._steps, self.ids, self._schedule.steps, start)
        self._moved = start

    def _points(self) -> Iterator[Point]:
        interrupted = self._log.interrupted()
        if interrupted is not None:
            yield interrupted
        for file in sorted(self._from.glob("after-*")) if self._from else ():
            point = read_point(file.read_bytes())
            known = point.position <= len(self._steps)
            if known and point.chain == chain_at(self._steps, self._beginning, point.position):
                self._log.keep(point, file.name)
                yield point

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Take the checkpoint over, if there is one."""
        if self._point is not None:
            _restore(more["model"], more["optimizer"], more["lr_scheduler"], self._point)

    def on_step_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Log the step, and those before it that nobody fell into; they only move the learning rate on."""
        step = self.sampler.step
        while self._moved < step.number:
            self._log.write(self._steps[self._moved])
            more["lr_scheduler"].step()
            self._moved += 1
            self._keep(more)
        self._log.write(step)
        torch.manual_seed(step.seed)

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Keep a checkpoint where one is due."""
        self._moved += 1
        self._keep(more)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """End with the last epoch, wherever the run began."""
        control.should_training_stop |= self.sampler.epoch >= self._schedule.epochs

    def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Complete the log with the steps at the end that nobody fell into."""
        for step in self._steps[self._moved :]:
            self._log.write(step)

    def _keep(self, more: Mapping[str, Any]) -> None:
        due = marks(self._schedule.steps, self._checkpoints)
        if self._moved not in due and self._moved % self._schedule.steps:
            return
        tensors, told = _taken(more["model"], more["optimizer"]), {"scheduler": more["lr_scheduler"].state_dict()}
        chain = chain_at(self._steps, self._beginning, self._moved)
        point = Point(self._moved, chain, tensors, _plain(told))
        self._log.keep(point)
        if self._moved in due:
            self._log.keep(point, f"after-{self._moved:06d}")


class FixedSlots:
    """A batch sampler: the batches of a schedule, in order, without those that nobody fell into.

    Args:
        steps: Every step of the training.
        ids: The id of each record of the training set, in its order.
        per_epoch: Steps in an epoch, empty ones with them.
        start: The first step that is to be taken.
    """

    def __init__(self, steps: Sequence[Step], ids: Sequence[str], per_epoch: int, start: int) -> None:
        self._steps, self._per_epoch, self._start = steps, per_epoch, start
        self._places = {identity: index for index, identity in enumerate(ids)}
        self.epoch = start // per_epoch
        self.step = steps[min(start, len(steps) - 1)]

    def __len__(self) -> int:
        """Return how many steps an epoch has, so that the learning rate does not depend on who is there."""
        return self._per_epoch

    def __iter__(self) -> Iterator[list[int]]:
        """Yield one epoch's batches, each as places in the training set in the order of ids."""
        batches: list[Step] = []
        while not batches and self.epoch * self._per_epoch < len(self._steps):
            first = self.epoch * self._per_epoch
            here = self._steps[max(first, self._start) : first + self._per_epoch]
            batches = [step for step in here if step.ids]
            self.epoch += 1
        for step in batches:
            self.step = step
            torch.manual_seed(step.seed)  # for a collator that draws
            yield [self._places[identity] for identity in step.ids]


def _check(trainer: Any) -> None:
    """Refuse a Trainer whose steps are not each a function of its own batch."""
    args = trainer.args
    wrong = [
        ("max_steps", args.max_steps > 0, "give num_train_epochs in its place"),
        ("num_train_epochs", args.num_train_epochs != int(args.num_train_epochs), "give a whole number"),
        ("gradient_accumulation_steps", args.gradient_accumulation_steps != 1, "set it to 1 and take fewer steps"),
        ("dataloader_num_workers", args.dataloader_num_workers != 0, "set it to 0"),
        ("world_size", args.world_size != 1 or args.n_gpu > 1, "train in one process on one device"),
        (
            "lr_scheduler_type",
            "plateau" in str(args.lr_scheduler_type).lower(),
            "take one that follows the step's number",
        ),
    ]
    for name, is_wrong, way_out in wrong:
        if is_wrong:
            raise BadInput(f"a run with {name} = {getattr(args, name)} cannot be replayed exactly; {way_out}")


def _content(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.tolist() if hasattr(value, "tolist") else value for name, value in sorted(item.items())}


def _learning(model: Any) -> dict[str, Tensor]:
    """Return all that training changes, by name: the weights that learn, and buffers."""
    fixed = {name for name, tensor in model.named_parameters() if not tensor.requires_grad}
    return {name: tensor for name, tensor in model.state_dict(keep_vars=True).items() if name not in fixed}


def _config(model: Any) -> dict[str, Any]:
    """Return a model's configuration, such as its dropout, as JSON; empty where it has none."""
    config = getattr(model, "config", None)
    told = {} if config is None else json.loads(config.to_json_string(use_diff=False))
    return {name: value for name, value in told.items() if name not in PLACES}


def _weights_digest(model: Any) -> str:
    """Return a digest of every weight."""
    found = {}
    for name, tensor in model.state_dict().items():
        data = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        found[name] = hashlib.sha256(data).hexdigest()
    return digest_of(found)


def _taken(model: Any, optimizer: Any) -> dict[str, Tensor]:
    """Return weights and optimiser as tensors with names, each stored once."""
    tensors = {f"weight/{name}": tensor.detach().clone() for name, tensor in _learning(model).items()}
    for number, state in _inner(optimizer).state_dict()["state"].items():
        for kind, value in state.items():
            tensors[f"optimizer/{number}/{kind}"] = torch.as_tensor(value).clone()
    return tensors


def _inner(optimizer: Any) -> Any:
    return getattr(optimizer, "optimizer", optimizer)


def _plain(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return a scheduler's state without what is code."""
    simple = {name: value for name, value in told["scheduler"].items() if name != "lr_lambdas"}
    return {"scheduler": simple}


def _restore(model: Any, optimizer: Any, scheduler: Any, point: Point) -> None:
    """Bring weights, optimiser and learning rate to where a checkpoint was taken."""
    with torch.no_grad():
        for name, tensor in _learning(model).items():
            tensor.copy_(point.tensors[f"weight/{name}"])
    inner = _inner(optimizer)
    whole = inner.state_dict()
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in point.tensors.items():
        if name.startswith("optimizer/"):
            _, number, kind = name.split("/")
            state.setdefault(int(number), {})[kind] = tensor
    inner.load_state_dict({**whole, "state": state})
    told = scheduler.state_dict()
    scheduler.load_state_dict({**told, **point.more["scheduler"]})
    for group, lr in zip(inner.param_groups, point.more["scheduler"]["_last_lr"], strict=True):
        group["lr"] = lr
