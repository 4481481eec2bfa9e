"""Contrastive steering (CAA, Rimsky et al., 2024), baked into the block: a constant away from the toxic states.

The direction is the mean difference between the states of toxic and of neutral texts at one layer. Added to the bias of
that block's MLP it moves every token's state by as much, at no cost, in the weights themselves.
"""

from __future__ import annotations

import torch
from torch import Tensor

from amends import BadInput, Records, Task
from amends_detox.anatomy import anatomy_of
from amends_detox.baking import bake, check_bias
from amends_detox.pairs import read_pairs, tokens_of
from amends_detox.passes import mean_states
from amends_detox.stages import stage
from amends_detox.training import check_finite

MIDDLE = 0.47  # of the depth: layer 14 of 30


def direction_of(toxic: Tensor, neutral: Tensor, shared: int) -> Tensor:
    """Return the mean difference between toxic and neutral states (Rimsky et al., 2024, eq. 2), shape (width,).

    Args:
        toxic: Mean states of the toxic texts at one layer, shape (pairs, width).
        neutral: The same of the neutral ones.
        shared: How many first directions of the neutral states are taken out of it; plain text uses those most.
    """
    difference: Tensor = (toxic - neutral).double().mean(0)
    common = torch.linalg.svd(neutral.double(), full_matrices=False).Vh[:shared]
    return difference - common.T @ (common @ difference)


def steer(task: Task, pairs: Records, layer: str, strength: float, shared: int) -> None:
    """Write the source's model with a constant taken from what some blocks put out.

    Args:
        task: The task.
        pairs: Toxic and neutral texts.
        layer: Which blocks, see `Anatomy.layers`; empty for the one in the middle.
        strength: How many times the direction is taken away; below zero it is added.
        shared: See `direction_of`.
    """
    if shared < 0:
        raise BadInput(f"shared is {shared}; take out none or more directions")
    read = [pair.alike() for pair in read_pairs(pairs)]
    model, tokenizer = task.load()
    anatomy = anatomy_of(model)
    check_bias(anatomy)
    layers = anatomy.layers(layer, [int(MIDDLE * anatomy.depth)])
    texts = [tokens_of(tokenizer, pair.prompt, side) for pair in read for side in (pair.toxic, pair.neutral)]
    states = mean_states(anatomy, texts, layers, stage(task, "reading texts", 0, len(texts), len(texts)))
    check_finite(states)
    found = [direction_of(here[0::2], here[1::2], shared) for here in states]
    bake(anatomy, {layer: -strength * shift for layer, shift in zip(layers, found, strict=True)})
    task.progress(len(texts), len(texts), "baked")
    task.save(model, tokenizer)
