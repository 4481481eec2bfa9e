"""Teach a model one answer by a few gradient steps, see how likely it became, and take the steps back bit by bit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from amends import AmendsError, BadInput
from amends.serving.encoding import encode_continuation
from amends.serving.scoring import logits_of
from amends_editing.structure import inspect_model


@dataclass(frozen=True)
class Training:
    """A little fine-tuning.

    Args:
        steps: Of Adam.
        lr: Its step. It has to leave room to learn: where an answer about an unknown subject becomes certain as well,
            the comparison sees nothing.
        layers: How many of the last blocks' MLP output projections are trained.
    """

    steps: int = 5
    lr: float = 5e-5
    layers: int = 4

    def __post_init__(self) -> None:
        if min(self.steps, self.layers) < 1 or self.lr <= 0:
            raise BadInput("relearning needs at least one step and one layer, and a positive lr")


@dataclass(frozen=True)
class Relearned:
    """The mean log-probability of an answer's tokens before and after."""

    before: float
    after: float


def last_projections(hf_model: Any, layers: int) -> list[torch.nn.Parameter]:
    """Return the weights of the last blocks' MLP output projections; the model's flags stay as they are."""
    with _flags_kept(hf_model):
        found: list[Any] = [projection.module.weight for projection in inspect_model(hf_model).projections[-layers:]]
    return found


def relearn(
    model: Any, weights: Sequence[torch.nn.Parameter], prompt: str, answer: str, training: Training
) -> Relearned:
    """Train some weights of a served model on one answer, with its attachments armed, and give it back as it was.

    Scores come straight from the weights: what a job keeps of scores knows nothing of the training.

    Raises:
        AmendsError: The training went to NaN or infinity.
    """
    first, then = encode_continuation(model.tokenizer, model.before(prompt), answer)
    losses = []
    with lent(model.hf_model, weights), model.armed(prompt):
        optimiser = torch.optim.Adam(weights, lr=training.lr)
        for _ in range(training.steps):
            loss = answer_loss(model.hf_model, first, then)
            losses.append(float(loss.detach()))
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
        with torch.no_grad():
            losses.append(float(answer_loss(model.hf_model, first, then)))
    if not all(map(math.isfinite, losses)):
        raise AmendsError("relearning became NaN or infinite; take a smaller lr in the probe's settings")
    return Relearned(-losses[0], -losses[-1])


def answer_loss(hf_model: Any, first: Sequence[int], then: Sequence[int]) -> Tensor:
    """Return the mean negative log-probability of the answer's tokens, in nats, a scalar."""
    logits = logits_of(hf_model, [[*first, *then]], 1 + len(then))[0, -len(then) - 1 : -1]
    targets = torch.tensor(then, device=logits.device)
    return torch.nn.functional.cross_entropy(logits.float(), targets)


@contextmanager
def lent(hf_model: Any, weights: Sequence[torch.nn.Parameter]) -> Iterator[None]:
    """Lend some weights for training; afterwards every bit and flag is as before."""
    kept = [weight.detach().clone() for weight in weights]
    with _flags_kept(hf_model):
        hf_model.requires_grad_(False)
        for weight in weights:
            weight.requires_grad_(True)
        try:
            yield
        finally:
            with torch.no_grad():
                for weight, before in zip(weights, kept, strict=True):
                    weight.copy_(before)
                    weight.grad = None


@contextmanager
def _flags_kept(hf_model: Any) -> Iterator[None]:
    flags = [(parameter, parameter.requires_grad) for parameter in hf_model.parameters()]
    try:
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
