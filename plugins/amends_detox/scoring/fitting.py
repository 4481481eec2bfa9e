"""Fit a head: logistic regression on soft labels with a ridge, by L-BFGS in float64."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from amends import BadInput
from amends_detox.scoring.head import Head

MOST_STEPS = 500


@dataclass(frozen=True)
class Fit:
    """How a head is fitted.

    Args:
        hidden: Tanh units between embedding and logits; 0 for a linear head.
        ridge: What half the squared length of all weights but the biases costs, beside a mean loss a text.
        seed: Of a hidden layer's first weights; a linear head has one optimum and no seed.
    """

    hidden: int = 0
    ridge: float = 1e-3
    seed: int = 0


def soft_logistic_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return -(y log s(z) + (1 - y) log(1 - s(z))), the mean over texts of its sum over attributes.

    Args:
        logits: z, shape (texts, attributes).
        targets: y in [0, 1], the same shape.
    """
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(1).mean()


def fit(embeddings: Tensor, targets: Tensor, how: Fit) -> Head:
    """Return the head that minimises `soft_logistic_loss` plus ridge / 2 times the squared weights.

    Args:
        embeddings: Shape (texts, width).
        targets: Scores in [0, 1], shape (texts, attributes).
        how: Size, ridge and seed.

    Raises:
        BadInput: There are no texts, or the fit found no finite numbers.
    """
    if not len(embeddings) or not how.ridge > 0:
        raise BadInput("a head needs texts to be fitted on, and a ridge above 0")
    x, y = embeddings.double(), targets.double()
    tensors = _begin(x.shape[1], y.shape[1], how)
    head = Head(tensors)
    optimizer = torch.optim.LBFGS(
        list(tensors.values()), max_iter=MOST_STEPS, tolerance_grad=1e-7, history_size=20, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        squares = sum(tensor.square().sum() for name, tensor in tensors.items() if name.endswith("weight"))
        loss = soft_logistic_loss(head.logits(x), y) + how.ridge / 2 * squares
        torch.autograd.backward(loss)
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise BadInput("the fit found no finite head; raise the ridge")
    return Head({name: tensor.detach().float() for name, tensor in tensors.items()})


def _begin(width: int, attributes: int, how: Fit) -> dict[str, Tensor]:
    shapes = {"weight": (attributes, how.hidden or width), "bias": (attributes,)}
    if how.hidden:
        shapes |= {"hidden.weight": (how.hidden, width), "hidden.bias": (how.hidden,)}
    generator = torch.Generator().manual_seed(how.seed)
    return {name: _draw(shape, how.hidden > 0 and name.endswith("weight"), generator) for name, shape in shapes.items()}


def _draw(shape: Sequence[int], is_random: bool, generator: torch.Generator) -> Tensor:
    """Return the first values of a parameter: zeros, or normal ones of variance 1 / inputs."""
    if not is_random:
        return torch.zeros(*shape, dtype=torch.float64, requires_grad=True)
    drawn = torch.randn(*shape, dtype=torch.float64, generator=generator) / math.sqrt(shape[-1])
    drawn.requires_grad = True
    return drawn
