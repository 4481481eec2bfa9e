"""Contrastive steering (CAA, Rimsky et al., 2024), baked into blocks: shifts away from the toxic states.

The direction is the mean difference between the states of toxic and of neutral texts at a layer. As a bias of that
block's MLP it moves every token's state; behind a gate, only those of tokens that look toxic. Gates at several layers
err at different tokens, so that each shift can be a small one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from amends import BadInput, Records, Task
from amends.operation.descent import check_finite, check_weights
from amends_detox.anatomy import Anatomy, anatomy_of
from amends_detox.baking import bake, check_bias
from amends_detox.gating import Gate, bake_gate, gate_of, look
from amends_detox.pairs import Pair, Tokens, read_texts, tokens_of
from amends_detox.passes import Heed, mean_states
from amends_detox.stages import stage

GATED = (7, 8, 9)  # fifteenths of the depth: layers 14, 16 and 18 of SmolLM2's 30
OPEN = 6  # the same for a shift of every token: layer 12


def direction_of(toxic: Tensor, neutral: Tensor) -> Tensor:
    """Return the mean difference between toxic and neutral states (CAA, v_MD), shape (width,), float64.

    Args:
        toxic: Mean states of the toxic texts at one layer, shape (pairs, width).
        neutral: The same of the neutral ones.
    """
    return (toxic.double() - neutral.double()).mean(0)


@dataclass(frozen=True)
class Settings:
    """How to steer.

    Args:
        layer: Which blocks, see `Anatomy.layers`; empty for those a little above half of the depth behind gates, and
            the one at two fifths of it without.
        strength: How many times the direction is taken away; below zero it is added, and at 0 nothing changes.
        is_gated: Steer only where a state looks toxic.
        opens: The reading at which the gate begins to open; plain texts read 0 and toxic ones 1 on average.
        full: That from which it is open.
    """

    layer: str
    strength: float
    is_gated: bool
    opens: float
    full: float

    def __post_init__(self) -> None:
        """Refuse settings that cannot be."""
        if not self.opens < self.full:
            raise BadInput(f"opens is {self.opens} and full {self.full}; a gate begins to open before it is open")

    def layers(self, anatomy: Anatomy) -> tuple[int, ...]:
        """Return the blocks to steer at."""
        fifteenths = GATED if self.is_gated else (OPEN,)
        return anatomy.layers(self.layer, [part * anatomy.depth // 15 for part in fifteenths])


def steer(task: Task, pairs: Sequence[Pair], retain: Records | None, settings: Settings) -> None:
    """Write the source's model with a shift in what some blocks put out.

    Args:
        task: The task.
        pairs: Toxic and neutral texts.
        retain: Plain texts that the gate stays closed at; where there are none, the neutral texts by themselves.
        settings: How to steer.
    """
    kept = read_texts(retain)
    model, tokenizer = task.load()
    anatomy = anatomy_of(model)
    check_bias(anatomy)
    layers = settings.layers(anatomy)
    toxic = [tokens_of(tokenizer, pair.prompt, pair.toxic) for pair in pairs]
    plain = [tokens_of(tokenizer, "", text) for text in kept or [pair.neutral for pair in pairs]]
    looked = len(toxic) + len(plain) if settings.is_gated else 0
    total = 2 * len(pairs) + looked
    heed = stage(task, "reading pairs", 0, 2 * len(pairs), total)
    shifts = shifts_of(anatomy, layers, tokenizer, pairs, settings.strength, heed)
    if settings.is_gated:
        heed = stage(task, "looking for toxic states", 2 * len(pairs), looked, total)
        gates = gates_of(anatomy, layers, toxic, plain, settings, heed)
        for layer, shift in shifts.items():
            bake_gate(anatomy, layer, *gates[layer], shift)
    elif shifts:
        bake(anatomy, shifts)
    check_weights(anatomy.model)
    task.progress(total, total, "baked")
    task.save(model, tokenizer)


def shifts_of(
    anatomy: Anatomy, layers: Sequence[int], tokenizer: Any, pairs: Sequence[Pair], strength: float, heed: Heed
) -> dict[int, Tensor]:
    """Return by layer what is added to toxic states, shape (width,) each; nothing where it would be zero."""
    sides = [(pair.prompt, side) for pair in (one.alike() for one in pairs) for side in (pair.toxic, pair.neutral)]
    states = mean_states(anatomy, [tokens_of(tokenizer, *side) for side in sides], layers, heed)
    check_finite(states)
    found = [-strength * direction_of(here[0::2], here[1::2]) for here in states]
    return dict(zip(layers, found, strict=True)) if strength else {}


def gates_of(
    anatomy: Anatomy,
    layers: Sequence[int],
    toxic: Sequence[Tokens],
    plain: Sequence[Tokens],
    settings: Settings,
    heed: Heed,
) -> dict[int, tuple[Gate, Tensor]]:
    """Return for each layer the gate between toxic and plain texts, and how much its neurons are used by both."""
    until = sum(len(text.ids) - 1 for text in toxic)
    found = {}
    for layer, seen in look(anatomy, layers, [*toxic, *plain], heed).items():
        gate = gate_of(seen.states[:until], seen.states[until:], settings.opens, settings.full)
        found[layer] = gate, seen.use
    return found
