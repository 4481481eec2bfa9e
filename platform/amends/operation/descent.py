"""Step down a loss: what every operation that trains by gradients shares, whatever it trains."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from amends.errors import AmendsError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer
    from transformers import PreTrainedModel

CLIP = 1.0  # of the gradient's norm
LEAST = 0.1  # of the learning rate, where it ends


def descend(parameters: Sequence[Tensor], steps: int, lr: float, loss_at: Callable[[int], Tensor]) -> None:
    """Take steps of AdamW, without weight decay, on a loss.

    Args:
        parameters: What is trained.
        steps: How many; 0 trains nothing.
        lr: The learning rate, which falls linearly to a tenth.
        loss_at: Return the loss of a step; it is asked once for each, and may raise to end the training.

    Raises:
        AmendsError: A loss or a gradient is NaN or infinite.
    """
    optimiser = adamw(parameters, lr)
    with trainable(parameters):
        for step in range(steps):
            optimiser.param_groups[0]["lr"] = lr * (1 - (1 - LEAST) * step / steps)
            step_down(optimiser, parameters, loss_at(step))


def adamw(parameters: Iterable[Tensor], lr: float) -> Optimizer:
    """Return AdamW without weight decay, which adds up in the order of its parameters."""
    import torch

    return torch.optim.AdamW(parameters, lr=lr, weight_decay=0.0, foreach=False)


def step_down(optimiser: Optimizer, parameters: Iterable[Tensor], loss: Tensor, clip: float = CLIP) -> None:
    """Take one step down a loss.

    Args:
        optimiser: Of the parameters.
        parameters: What is trained; the gradient's norm is added up in their order.
        loss: A scalar.
        clip: The largest norm of the gradient.

    Raises:
        AmendsError: The loss or a gradient is NaN or infinite; nothing was changed.
    """
    import torch

    check_finite(loss.detach())
    optimiser.zero_grad()
    torch.autograd.backward(loss)
    check_finite(torch.nn.utils.clip_grad_norm_(parameters, clip, foreach=False))
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
        raise AmendsError("a loss, a state or a weight became NaN or infinite; the parent stands, take a smaller lr")


def check_weights(model: PreTrainedModel) -> None:
    """Refuse a model one of whose weights is NaN or infinite.

    Raises:
        AmendsError: One is.
    """
    for parameter in model.parameters():
        check_finite(parameter)


def draws(count: int, batch: int, seed: int) -> Iterator[list[int]]:
    """Yield batches without end: every place once in a new order, and so again.

    Args:
        count: How many places there are.
        batch: How many of them are in a batch.
        seed: Of the orders.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    waiting: list[int] = []
    while True:
        while len(waiting) < batch:
            waiting += torch.randperm(count, generator=generator).tolist()
        yield waiting[:batch]
        waiting = waiting[batch:]
