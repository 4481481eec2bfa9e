"""Step down a loss on samples, with batches drawn from the task's seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from amends import AmendsError, BadInput

CLIP = 1.0


@dataclass(frozen=True)
class Tuning:
    """How to tune.

    Args:
        steps: Steps of AdamW; 0 tunes nothing.
        lr: Its learning rate, which falls linearly to a tenth.
        batch: Samples in a step.
    """

    steps: int
    lr: float
    batch: int

    def __post_init__(self) -> None:
        """Refuse settings that nothing can be tuned with.

        Raises:
            BadInput: One is too small.
        """
        if self.steps < 0 or not self.lr > 0 or self.batch < 1:
            raise BadInput(
                f"steps is {self.steps}, lr {self.lr} and batch {self.batch}; steps cannot be below zero, the other "
                "two must be above it"
            )


def descend(parameters: Sequence[Tensor], tuning: Tuning, loss_at: Callable[[int], Tensor]) -> None:
    """Take steps of AdamW, without weight decay, on a loss.

    Args:
        parameters: What is trained.
        tuning: How.
        loss_at: Return the loss of a step; it is asked once for each, and may raise to end the training.

    Raises:
        AmendsError: A loss or a gradient is NaN or infinite.
    """
    optimiser = torch.optim.AdamW(parameters, lr=tuning.lr, weight_decay=0.0, foreach=False)
    with trainable(parameters):
        for step in range(tuning.steps):
            optimiser.param_groups[0]["lr"] = tuning.lr * (1 - 0.9 * step / tuning.steps)
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


def check_finite(values: Tensor) -> None:
    """Refuse numbers that are none.

    Raises:
        AmendsError: One is NaN or infinite.
    """
    if not bool(values.isfinite().all()):
        raise AmendsError("a loss, a gradient or a weight is NaN or infinite, so nothing is written; take a smaller lr")
