"""Task-vector negation (Ilharco et al., 2023): learn to be toxic, then subtract what that changed.

What learning the neutral texts changes in the same way is no toxicity but the manner of the corpus; it is taken out
before, as far as `contrast` says.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from amends import BadInput, Task
from amends.operation.descent import check_weights, descend, draws
from amends_detox.anatomy import Anatomy, anatomy_of
from amends_detox.lowrank import LowRank, fresh
from amends_detox.pairs import Pair, tokens_of
from amends_detox.passes import Example, Heed, answer_logp, check_passes, examples_of, sums
from amends_detox.stages import stage
from amends_detox.training import Settings


def token_loss(anatomy: Anatomy, examples: Sequence[Example], first: int) -> Tensor:
    """Return the negative log-likelihood of a token in nats, averaged within each text first."""
    logp, owner = answer_logp(anatomy, examples, first)
    lengths = torch.tensor([len(example.answer) for example in examples], device=logp.device)
    return -(sums(logp, owner, len(examples)) / lengths).mean()


def negate(task: Task, pairs: Sequence[Pair], settings: Settings, strength: float, contrast: float) -> None:
    """Write the source's model less so many times what it learnt: W - strength (toxic - contrast neutral).

    Args:
        task: The task.
        pairs: What is learnt, each side by itself.
        settings: How to learn.
        strength: How many times what was learnt is subtracted; 0 leaves every bit as it is.
        contrast: How much of what the neutral texts changed is taken out of it.
    """
    if not (strength >= 0 and contrast >= 0):
        raise BadInput(f"strength is {strength} and contrast {contrast}; neither can be below zero")
    model, tokenizer = task.load()
    anatomy = anatomy_of(model)
    first = anatomy.depth - settings.layers
    found: list[tuple[LowRank, float]] = []
    sides = [("toxic", 1.0)] + ([("neutral", -contrast)] if contrast else [])
    total = len(sides) * (len(pairs) + settings.steps)
    for number, (side, sign) in enumerate(sides):
        before = number * (len(pairs) + settings.steps)
        change = fresh(anatomy, settings.layers, settings.rank, task.seed)
        check_passes(anatomy, first)
        texts = [tokens_of(tokenizer, pair.prompt, getattr(pair, side)) for pair in pairs]
        made = examples_of(anatomy, texts, first, stage(task, f"reading {side} texts", before, len(pairs), total))
        told = stage(task, f"learning {side} texts", before + len(pairs), settings.steps, total)
        learn(anatomy, made, change, settings, task.seed, told)
        found.append((change, sign))
    for change, sign in found:
        change.merge(-strength * sign)
    check_weights(anatomy.model)
    task.progress(total, total, "subtracted what was learnt")
    task.save(model, tokenizer)


def learn(
    anatomy: Anatomy, texts: Sequence[Example], change: LowRank, settings: Settings, seed: int, told: Heed
) -> None:
    """Train the change to make some texts likelier."""
    order = draws(len(texts), settings.batch, seed)

    def loss_at(step: int) -> Tensor:
        told(step, settings.steps)
        with change.armed():
            return token_loss(anatomy, [texts[place] for place in next(order)], anatomy.depth - settings.layers)

    descend(change.parameters(), settings.steps, settings.lr, loss_at)
