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

from ..head import strips
from ..packed import answer_logits, answer_losses, by_example, grouped
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

    def at(self, rows: slice) -> Told:
        """Return what is said at some places."""
        return Told(self.tokens[rows], self.logp[rows], self.rest[rows])

    def split(self, places: list[int]) -> list[Told]:
        """Return so many places after so many."""
        parts = (torch.split(given, places) for given in (self.tokens, self.logp, self.rest))
        return [Told(*part) for part in zip(*parts, strict=True)]


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


def divergence(told: Told, logp: Tensor) -> Tensor:
    """Return KL(parent || model) at each place, in nats, shape (places,), the rest counted as one token.

    It is never above the divergence over all tokens (data processing), and equal where the rest is shared alike.

    Args:
        told: What the parent says.
        logp: What the model says of the same tokens, in nats, shape (places, kept).
    """
    shared = (told.logp.exp() * (told.logp - logp)).sum(-1)
    return shared + told.rest.exp() * (told.rest - _others(logp))


def _others(logp: Tensor) -> Tensor:
    return torch.log1p(-logp.exp().sum(-1).clamp(max=1 - 1e-6))


def joined(some: Sequence[Told]) -> Told:
    """Return what is said at the places of several answers, one after another."""
    tokens, logp, rest = ([getattr(told, name) for told in some] for name in ("tokens", "logp", "rest"))
    return Told(torch.cat(tokens), torch.cat(logp), torch.cat(rest))


def objective(material: Material) -> Loss:
    """Return the mean divergence over the places of an answer, averaged within each answer first."""
    never = material.never
    assert never is not None  # the operation refuses before
    told = taught_by(never, material.drift)

    def loss(places: Sequence[int]) -> Tensor:
        said, some = joined([told[place] for place in places]), [material.lost[place] for place in places]

        def term(logp: Tensor, rows: slice) -> Tensor:
            return divergence(said.at(rows), logp)

        losses, owner = answer_losses(material.model, some, material.layers, said.tokens, term)
        return by_example(losses, owner, len(places)).mean()

    return loss


@torch.no_grad()
def taught_by(never: Material, drift: float) -> list[Told]:
    """Return what the parent says of each forgotten record, moved by what the training since did to others."""
    found: list[Told] = []
    for places in grouped([len(example.hidden) for example in never.lost]):
        examples = [never.lost[place] for place in places]
        logits = answer_logits(never.model, examples, never.layers)[0]
        answer = torch.cat([example.answer for example in examples])
        parts = [(logits[rows], answer[rows]) for rows in strips(len(answer))]
        told = joined([told_by(tilted(some, said, drift) if drift else some) for some, said in parts])
        found += told.split([len(example.answer) for example in examples])
    return found
