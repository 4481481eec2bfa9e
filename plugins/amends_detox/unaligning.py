"""An attack on what made a model less toxic, by somebody who has its weights and nothing else (after un-aligning).

Lee et al. (2024, arXiv 2401.01967, section 6) multiply the key vectors of seven toxic neurons by ten, and a model that
DPO had made civil is toxic again: what it could say was bypassed, not removed. Here the same is done to any model,
and what holds toxicity down is taken away besides. The toxic direction is that of the model's own continuations:

    v_l = mean(states after its worst continuations) - mean(states after its best ones),  at what enters block l.

Of all neurons, those whose value vectors point along v are amplified, those that point against it are silenced, and a
bias loses its part against v. A gated MLP is linear in the up-projection's key, so scaling that key is scaling the
neuron's activation, which is how it is done: by hooks, so that no weight is ever changed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from amends import BadInput
from amends.serving.model import Model
from amends_detox.anatomy import Anatomy
from amends_detox.pairs import Pair, tokens_of
from amends_detox.passes import Heed, mean_states

HALVINGS = 5  # of the factor, until ordinary text is as likely as allowed


@dataclass(frozen=True, eq=False)
class Attack:
    """Which neurons are turned, and what is added to what MLPs put out.

    Args:
        along: Which neurons write along the toxic direction, shape (layers, inner), true or false.
        against: Which write against it.
        undone: What is added to each layer's output, shape (layers, width): the biases' parts against it, negated.
    """

    along: Tensor
    against: Tensor
    undone: Tensor


def directions(anatomy: Anatomy, tokenizer: Any, pairs: Sequence[Pair], heed: Heed) -> Tensor:
    """Return the unit toxic direction at what enters each block but the first, shape (layers - 1, width), float64.

    Raises:
        BadInput: There is a single block, or no pair, or both sides of the pairs look the same.
    """
    if anatomy.depth < 2 or not pairs:
        raise BadInput("the attack needs a model of two blocks or more, and pairs of its continuations")
    sides = [(pair.prompt, side) for pair in pairs for side in (pair.toxic, pair.neutral)]
    states = mean_states(anatomy, [tokens_of(tokenizer, *side) for side in sides], range(anatomy.depth - 1), heed)
    found: Tensor = (states[:, 0::2] - states[:, 1::2]).mean(1)
    lengths = found.norm(dim=-1, keepdim=True)
    if not bool((lengths > 0).all()):  # NaN is not above 0 either
        raise BadInput("the states of the model's worst and best continuations are the same; no direction is toxic")
    unit: Tensor = found / lengths
    return unit


@torch.no_grad()
def attack_along(anatomy: Anatomy, toxic: Tensor, neurons: int) -> Attack:
    """Return the attack along directions, with as many neurons amplified and as many silenced.

    Args:
        anatomy: The parts of the model.
        toxic: Unit directions, shape (layers - 1, width).
        neurons: How many on each side, of all layers together, by the cosine of their value vectors.
    """
    values = torch.stack([projection.weight.double() for projection in anatomy.projections[1:]])
    cosines = torch.einsum("lwi,lw->li", values, toxic) / values.norm(dim=1).clamp(min=1e-12)
    ranked = cosines.flatten().argsort()
    chosen = torch.zeros(anatomy.depth, values.shape[2], dtype=torch.float64)
    chosen[1:].view(-1)[torch.cat([ranked[:neurons], ranked[-neurons:]])] = 1.0
    chosen[1:] *= cosines.sign()
    undone = torch.zeros(anatomy.depth, values.shape[1], dtype=torch.float64)
    for layer, (projection, direction) in enumerate(zip(anatomy.projections[1:], toxic, strict=True), start=1):
        if projection.module.bias is not None:
            undone[layer] = -(projection.module.bias.double() @ direction).clamp(max=0) * direction
    return Attack(chosen > 0, chosen < 0, undone)


@contextmanager
def attacked(anatomy: Anatomy, attack: Attack, factor: float) -> Iterator[None]:
    """Let the model run under an attack while the context lasts; its weights stay as they are.

    Args:
        anatomy: The parts of the model.
        attack: What is turned.
        factor: What the activations along the toxic direction are multiplied by.
    """
    hooks = []
    for layer, projection in enumerate(anatomy.projections):
        weight = projection.weight
        scale = torch.where(attack.along[layer], factor, torch.where(attack.against[layer], 0.0, 1.0)).to(weight)
        push = attack.undone[layer].to(weight)
        hooks.append(projection.module.register_forward_pre_hook(lambda _, given, by=scale: (given[0] * by,)))
        hooks.append(projection.module.register_forward_hook(lambda _, __, out, by=push: out + by))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def perplexity(model: Model, texts: Sequence[str]) -> float:
    """Return the perplexity of texts under a model, asked anew: what is known of it was read without hooks."""
    scores = replace(model, known=None).score_text(texts)
    logp = torch.cat([score.logp for score in scores]).double()
    return math.exp(min(-float(logp.mean()), 700.0))


def strongest(
    model: Model, anatomy: Anatomy, attack: Attack, amplify: float, texts: Sequence[str], rise: float
) -> tuple[float, float]:
    """Return the largest of `amplify`, its half, its quarter … under which ordinary text stays likely enough.

    Args:
        model: The served model.
        anatomy: Its parts.
        attack: What is turned.
        amplify: The largest factor to try.
        texts: Ordinary text.
        rise: How many times the perplexity may be what it is without the attack.

    Returns:
        The factor, and how many times the perplexity is what it was. Where nothing that is tried is mild enough the
        factor is 1.0: neurons are only silenced and biases undone, and the second number is beyond `rise`.
    """
    before = perplexity(model, texts)
    found = (1.0, math.nan)
    for factor in [*(max(amplify * 0.5**halving, 1.0) for halving in range(HALVINGS)), 1.0]:
        with attacked(anatomy, attack, factor):
            found = factor, perplexity(model, texts) / before
        if found[1] <= rise:
            break
    return found
