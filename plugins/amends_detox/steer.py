"""Contrastive steering (CAA, Rimsky et al., 2024), baked into the block: a shift away from the toxic states.

The direction is the mean difference between the states of toxic and of neutral texts at one layer. As a bias of that
block's MLP it moves every token's state; behind a gate, only those of tokens that look toxic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from amends import BadInput, Records, Task
from amends_detox.anatomy import Anatomy, anatomy_of
from amends_detox.baking import bake, check_bias
from amends_detox.gating import Gate, bake_gate, gate_of, look
from amends_detox.pairs import Tokens, read_pairs, read_texts, tokens_of
from amends_detox.passes import Heed, mean_states
from amends_detox.stages import stage
from amends_detox.training import check_finite

MIDDLE = 0.47  # of the depth: layer 14 of 30


def direction_of(toxic: Tensor, neutral: Tensor, shared: int) -> Tensor:
    """Return the mean difference between toxic and neutral states (CAA, v_MD), shape (width,).

    Args:
        toxic: Mean states of the toxic texts at one layer, shape (pairs, width).
        neutral: The same of the neutral ones.
        shared: How many first directions of the neutral states are taken out of it; plain text uses those most.
    """
    difference: Tensor = (toxic - neutral).double().mean(0)
    common = torch.linalg.svd(neutral.double(), full_matrices=False).Vh[:shared]
    return difference - common.T @ (common @ difference)


@dataclass(frozen=True)
class Settings:
    """How to steer.

    Args:
        layer: Which blocks, see `Anatomy.layers`; empty for the one in the middle.
        strength: How many times the direction is taken away; below zero it is added, and at 0 nothing changes.
        shared: See `direction_of`.
        is_gated: Steer only where a state looks toxic.
        opens: The reading at which the gate begins to open; plain texts read 0 and toxic ones 1 on average.
        full: That from which it is open.
    """

    layer: str
    strength: float
    shared: int
    is_gated: bool
    opens: float
    full: float

    def __post_init__(self) -> None:
        """Refuse settings that cannot be."""
        if self.shared < 0:
            raise BadInput(f"shared is {self.shared}; take out none or more directions")
        if not self.opens < self.full:
            raise BadInput(f"opens is {self.opens} and full {self.full}; a gate begins to open before it is open")


def steer(task: Task, pairs: Records, retain: Records | None, settings: Settings) -> None:
    """Write the source's model with a shift in what some blocks put out.

    Args:
        task: The task.
        pairs: Toxic and neutral texts.
        retain: Plain texts that the gate stays closed at; where there are none, the neutral texts by themselves.
        settings: How to steer.
    """
    read, kept = read_pairs(pairs), read_texts(retain)
    model, tokenizer = task.load()
    anatomy = anatomy_of(model)
    check_bias(anatomy)
    layers = anatomy.layers(settings.layer, [int(MIDDLE * anatomy.depth)])
    sides = [(pair, side) for pair in (one.alike() for one in read) for side in (pair.toxic, pair.neutral)]
    texts = [tokens_of(tokenizer, pair.prompt, side) for pair, side in sides]
    toxic = [tokens_of(tokenizer, pair.prompt, pair.toxic) for pair in read]
    plain = [tokens_of(tokenizer, "", text) for text in kept or [pair.neutral for pair in read]]
    looked = len(layers) * (len(toxic) + len(plain)) if settings.is_gated else 0
    total = len(texts) + looked
    states = mean_states(anatomy, texts, layers, stage(task, "reading pairs", 0, len(texts), total))
    check_finite(states)
    shifts = {
        layer: -settings.strength * direction_of(here[0::2], here[1::2], settings.shared)
        for layer, here in zip(layers, states, strict=True)
    }
    if settings.is_gated:
        heed = stage(task, "looking for toxic states", len(texts), looked, total)
        gates = gates_of(anatomy, layers, toxic, plain, settings, heed)
    if settings.strength and settings.is_gated:
        for layer, (gate, use) in gates.items():
            bake_gate(anatomy, layer, gate, shifts[layer], use)
    elif settings.strength:
        bake(anatomy, shifts)
    task.progress(total, total, "baked")
    task.save(model, tokenizer)


def gates_of(
    anatomy: Anatomy,
    layers: Sequence[int],
    toxic: Sequence[Tokens],
    plain: Sequence[Tokens],
    settings: Settings,
    heed: Heed,
) -> dict[int, tuple[Gate, Tensor]]:
    """Return for each layer the gate between toxic and plain texts, and how much its neurons are used by both."""
    found: dict[int, tuple[Gate, Tensor]] = {}
    each = len(toxic) + len(plain)
    for number, layer in enumerate(layers):
        seen = look(
            anatomy, layer, [*toxic, *plain], lambda done, of, n=number: heed(n * each + done, len(layers) * of)
        )
        until = sum(len(text.ids) - 1 for text in toxic)
        gate = gate_of(seen.states[:until], seen.states[until:], settings.opens, settings.full)
        found[layer] = gate, seen.use
    return found
