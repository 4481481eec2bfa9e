"""Train one slice of a shard: a low-rank adapter on what that slice's own records say, and on nothing else.

Every number here is a function of the adapter before, the shard's records so far and a seed. Batches never mix
slices, padding is as long as the batch needs, and the activations below the adapted layers are computed
one record at a time: in mixed batches their last bits would depend on who else was there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from amends.operation.descent import adamw, step_down
from amends.operation.parameters import check_positive

from .activations import Example, answer_logp
from .lora import Adapter, fresh, seed_of
from .points import Halfway, give_back, taken
from .projection import projectors

BATCHES = 5


@dataclass(frozen=True)
class Settings:
    """What a slice's training depends on besides its records.

    Args:
        layers: How many top layers are adapted.
        rank: Rank of the adapter.
        epochs: Passes over the slice.
        lr: Peak learning rate of AdamW.
        batch: Most records in a batch.
        clip: Largest gradient norm.
        warmup: Share of the steps that the learning rate rises in, before it falls to zero.
    """

    layers: int
    rank: int
    epochs: int
    lr: float
    batch: int
    clip: float = 1.0
    warmup: float = 0.1

    def __post_init__(self) -> None:
        """Refuse settings that train nothing.

        Raises:
            BadInput: One of them is not above zero.
        """
        check_positive(
            "training", **{name: getattr(self, name) for name in ("layers", "rank", "epochs", "lr", "batch")}
        )

    def batch_of(self, records: int) -> int:
        """Return the size of a batch in a slice of so many records: smaller in a small one, for enough steps."""
        return max(1, min(self.batch, records // BATCHES))

    def steps(self, records: int) -> int:
        """Return how many steps a slice of so many records takes."""
        return self.epochs * math.ceil(records / self.batch_of(records))


def loss_of(model: Any, examples: Sequence[Example], layers: int) -> Tensor:
    """Return the mean negative log-likelihood of an answer token, averaged within each answer first."""
    logp, owner = answer_logp(model, examples, layers)
    return -torch.stack([logp[owner == index].mean() for index in range(len(examples))]).mean()


def train_slice(
    model: Any,
    before: Adapter | None,
    earlier: Sequence[Example],
    own: Sequence[Example],
    settings: Settings,
    seed: str,
    report: Callable[[], None],
    halfway: Halfway | None = None,
) -> Adapter:
    """Return the adapter after this slice; optimiser, order and schedule start anew.

    Args:
        model: The frozen base.
        before: The adapter after the slice before, which stays as it is inside the new one.
        earlier: The records of the slices before; their inputs are kept clear of, nothing is trained on them.
        own: The slice's records, in the order of their ids.
        settings: Everything that is the same for all slices.
        seed: Draws the slice's first matrices and the order of its batches.
        report: Called before every step; what it raises ends the training.
        halfway: Keeps the training after each epoch, and has what a killed attempt at it kept.
    """
    block = fresh(model, settings.layers, settings.rank, seed)
    closed = projectors(model, before, earlier) if before else {}
    with trainable(block):
        _descend(model, before, block, closed, own, settings, seed, report, halfway)
    return block.through(closed).beside(before)


def _descend(
    model: Any,
    before: Adapter | None,
    block: Adapter,
    closed: dict[str, Tensor],
    own: Sequence[Example],
    settings: Settings,
    seed: str,
    report: Callable[[], None],
    halfway: Halfway | None,
) -> None:
    generator = torch.Generator().manual_seed(seed_of(f"order:{seed}"))
    total = settings.steps(len(own))
    optimiser = adamw(block.parameters(), settings.lr)
    point = halfway.found() if halfway is not None else None
    if point is not None:
        give_back(block.weights, optimiser, point.tensors)
    for step, batch in enumerate(_batches(len(own), settings, generator)):
        report()
        if point is not None and step < point.position:
            continue
        optimiser.param_groups[0]["lr"] = settings.lr * schedule(step, total, settings.warmup)
        with block.through(closed).beside(before).armed(model):
            loss = loss_of(model, [own[index] for index in batch], settings.layers)
            step_down(optimiser, block.parameters(), loss, settings.clip)
        if halfway is not None and (step + 1) % (total // settings.epochs) == 0:
            halfway.keep(step + 1, taken(block.weights, optimiser))


def _batches(count: int, settings: Settings, generator: torch.Generator) -> Iterator[list[int]]:
    for _ in range(settings.epochs):
        order = torch.randperm(count, generator=generator).tolist()
        for start in range(0, count, settings.batch_of(count)):
            yield order[start : start + settings.batch_of(count)]


def schedule(step: int, total: int, warmup: float) -> float:
    """Return the share of the peak learning rate at a step: a short rise, then a cosine fall."""
    rise = max(1, round(warmup * total))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))


@contextmanager
def trainable(adapter: Adapter) -> Iterator[None]:
    """Let gradients flow into the adapter while the context lasts."""
    for tensor in adapter.parameters():
        tensor.requires_grad_(True)
    try:
        yield
    finally:
        for tensor in adapter.parameters():
            tensor.requires_grad_(False)
            tensor.grad = None
