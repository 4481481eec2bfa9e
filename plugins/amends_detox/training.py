"""Step down a loss, with batches drawn from the task's seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from amends import AmendsError, BadInput
from amends_detox.anatomy import Anatomy

CLIP = 1.0


@dataclass(frozen=True)
class Settings:
    """How to train a low-rank change.

    Args:
        steps: Steps of AdamW.
        lr: Its learning rate.
        rank: Of the change.
        layers: How many top blocks are changed.
        batch: Pairs in a step.
    """

    steps: int
    lr: float
    rank: int
    layers: int
    batch: int

    def __post_init__(self) -> None:
        """Refuse settings that train nothing."""
        check_positive("training", **vars(self))


def check_positive(what: str, **given: float) -> None:
    """Refuse a setting that is not above zero.

    Raises:
        BadInput: One is not.
    """
    for name, value in given.items():
        if not value > 0:
            raise BadInput(f"{name} is {value}; {what} needs it above zero")


def check_finite(values: Tensor) -> None:
    """Refuse numbers that are none.

    Raises:
        AmendsError: One is NaN or infinite.
    """
    if not bool(values.isfinite().all()):
        raise AmendsError("a loss, a state or a weight became NaN or infinite; the parent stands, take a smaller lr")


def check_weights(anatomy: Anatomy) -> None:
    """Refuse a model one of whose weights is NaN or infinite."""
    for parameter in anatomy.model.parameters():
        check_finite(parameter)


def draws(count: int, batch: int, seed: int) -> Iterator[list[int]]:
    """Yield batches without end: every place once in a new order, and so again."""
    generator = torch.Generator().manual_seed(seed)
    waiting: list[int] = []
    while True:
        while len(waiting) < batch:
            waiting += torch.randperm(count, generator=generator).tolist()
        yield waiting[:batch]
        waiting = waiting[batch:]


def descend(parameters: Sequence[Tensor], steps: int, lr: float, loss_at: Callable[[int], Tensor]) -> None:
    """Take steps of AdamW on a loss.

    Args:
        parameters: What is trained.
        steps: How many.
        lr: The learning rate, which falls linearly to a tenth.
        loss_at: Return the loss of a step; it is asked once for each, and may raise to end the training.

    Raises:
        AmendsError: A loss or a gradient is NaN or infinite.
    """
    optimiser = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.0, foreach=False)
    with trainable(parameters):
        for step in range(steps):
            optimiser.param_groups[0]["lr"] = lr * (1 - 0.9 * step / steps)
            optimiser.zero_grad()
            loss = loss_at(step)
            check_finite(loss.detach())
            torch.autograd.backward(loss)
            check_finite(torch.nn.utils.clip_grad_norm_(parameters, CLIP, foreach=False))
            optimiser.step()


@contextmanager
def trainable(parameters: Sequence[Tensor]) -> Iterator[None]:
    """Let gradients reach tensors while the context lasts."""
    for parameter in parameters:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(False)
            parameter.grad = None
