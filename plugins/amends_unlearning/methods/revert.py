"""Revert: give the forgotten answers back the distribution that the pre-training parent has for them.

Every other loss here pushes away from the answers, and has to be stopped where one who never knew them would be. This
one names that place: KL(parent || model) at each token of the forgotten answers, which is 0 there and nowhere beyond.
The parent is a teacher as in distillation (Hinton et al., 2015), kept as its likeliest tokens and the rest in one.

A model that was trained on everybody else is not the parent either: where withheld people show how much likelier or
less likely the training made answers about people whom it never saw, the teacher's answers are moved by as much.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..activations import Example, answer_logits
from .material import Loss, Material

MOST = 256  # of the parent's likeliest tokens that are kept at each place
SURE = 1e-4


@dataclass(frozen=True)
class Told:
    """What the parent says at each place of an answer.

    Args:
        tokens: Its likeliest, shape (places, kept).
        logp: Their log-probabilities in nats, shape (places, kept).
        rest: The log-probability of all others together, shape (places,).
    """

    tokens: Tensor
    logp: Tensor
    rest: Tensor


def told_by(logits: Tensor, most: int = MOST) -> Told:
    """Keep the likeliest tokens of distributions, and the rest as one.

    Args:
        logits: Shape (places, vocabulary).
        most: How many to keep.
    """
    logp = logits.log_softmax(-1)
    kept, tokens = logp.topk(min(most, logp.shape[-1] - 1), dim=-1)
    return Told(tokens, kept, _others(kept))


def tilted(logits: Tensor, answer: Tensor, drift: float) -> Tensor:
    """Return logits that make the answer's tokens likelier by `drift` nats; all others keep their proportions.

    Args:
        logits: Shape (places, vocabulary).
        answer: The token at each place, shape (places,).
        drift: Below 0 for less likely; no probability is left nearer to 1 than by `SURE`.
    """
    at = answer[:, None]
    wanted = (logits.log_softmax(-1).gather(-1, at) + drift).clamp(max=math.log1p(-SURE))
    others = logits.scatter(-1, at, -math.inf).logsumexp(-1, keepdim=True)
    return logits.scatter(-1, at, others + wanted - torch.log1p(-wanted.exp()))


def divergence(told: Told, logits: Tensor) -> Tensor:
    """Return KL(parent || model) at each place, in nats, shape (places,), the rest counted as one token.

    It is never above the divergence over all tokens (data processing), and equal where the rest is shared alike.
    """
    logp = logits.log_softmax(-1).gather(-1, told.tokens)
    shared = (told.logp.exp() * (told.logp - logp)).sum(-1)
    return shared + told.rest.exp() * (told.rest - _others(logp))


def _others(logp: Tensor) -> Tensor:
    return torch.log1p(-logp.exp().sum(-1).clamp(max=1 - 1e-6))


def objective(material: Material) -> Loss:
    """Return the mean divergence over the places of an answer, averaged within each answer first."""
    never = material.never
    assert never is not None  # the operation refuses before
    with torch.no_grad():
        told = [taught_by(never, example, material.drift) for example in never.lost]

    def loss(places: Sequence[int]) -> Tensor:
        logits, owner = answer_logits(material.model, [material.lost[place] for place in places], material.layers)
        each = [divergence(told[place], logits[owner == turn]).mean() for turn, place in enumerate(places)]
        return torch.stack(each).mean()

    return loss


def taught_by(never: Material, example: Example, drift: float) -> Told:
    """Return what the parent says of a record, moved by what the training since did to people whom it never saw."""
    logits = answer_logits(never.model, [example], never.layers)[0]
    return told_by(tilted(logits, example.answer, drift) if drift else logits)
