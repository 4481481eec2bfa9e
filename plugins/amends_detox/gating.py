"""Steer only where a state looks toxic: a gate made of two neurons of the block's own MLP (after CAST).

Conditional activation steering (Lee et al., 2025) asks a running model whether to steer. Here the question is put into
the weights. A linear reading r of what enters the MLP is 0 at plain text and 1 at toxic text on average; two neurons
with the activation phi turn it into a ramp from 0 to 1, and what they write is the shift::

    shift * (phi(k t) - phi(k t - k)) / k,    t = (r - opens) / (full - opens)

for phi is nearly the identity far above 0 and nearly 0 far below. The neurons are the two that the texts use least.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from amends import BadInput
from amends_detox.anatomy import Anatomy
from amends_detox.baking import give_biases
from amends_detox.pairs import Tokens
from amends_detox.passes import Heed, blocks_from

SHARP = 8.0  # k
RIDGE = 0.5  # of the mean variance


@dataclass(frozen=True, eq=False)
class Gate:
    """A linear reading of what enters an MLP, and where it opens.

    Args:
        weight: Shape (width,), float64.
        offset: Taken from its product with the state, so that plain text reads 0 and toxic text 1 on average.
        opens: The reading at which the gate begins to open.
        full: That from which it is open.
    """

    weight: Tensor
    offset: float
    opens: float
    full: float

    def read(self, states: Tensor) -> Tensor:
        """Return the reading of states, shape (…, width)."""
        return states.double() @ self.weight - self.offset


def gate_of(toxic: Tensor, plain: Tensor, opens: float, full: float) -> Gate:
    """Return the linear discriminant between the states of toxic and of plain tokens, shape (tokens, width) each.

    Raises:
        BadInput: Nothing tells the texts apart.
    """
    centres = [states.double().mean(0) for states in (toxic, plain)]
    spread = torch.cat([toxic.double() - centres[0], plain.double() - centres[1]])
    within = spread.T @ spread / len(spread)
    within.diagonal().add_(RIDGE * within.diagonal().mean())
    weight = torch.linalg.solve(within, centres[0] - centres[1])
    apart = float(weight @ (centres[0] - centres[1]))
    if not apart > 0:
        raise BadInput("the states of toxic and of plain texts are the same here; take another layer or other texts")
    return Gate(weight / apart, float(weight @ centres[1]) / apart, opens, full)


@dataclass(frozen=True, eq=False)
class Seen:
    """What an MLP was shown by texts, and how much its neurons were used.

    Args:
        states: What enters it at the tokens that count, shape (tokens, width).
        use: Mean of |activation| times the length of what the neuron writes, shape (inner,).
    """

    states: Tensor
    use: Tensor


@torch.no_grad()
def look(anatomy: Anatomy, layers: Sequence[int], texts: Sequence[Tokens], heed: Heed) -> dict[int, Seen]:
    """Run texts once, up to the last of these layers, and look at the MLP of each."""
    entered: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    used: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    hooks = []
    for layer in layers:
        mlp: Any = anatomy.blocks[layer].mlp
        ends: Any = anatomy.projections[layer].module
        hooks += [
            mlp.register_forward_pre_hook(lambda _, given, to=entered[layer]: to.append(given[0][0, 1:])),
            ends.register_forward_pre_hook(lambda _, given, to=used[layer]: to.append(given[0][0].abs().sum(0))),
        ]
    try:
        with blocks_from(anatomy, 0, max(layers) + 1):
            for number, text in enumerate(texts):
                heed(number, len(texts))
                anatomy.body(input_ids=torch.tensor([text.ids], device=anatomy.device), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    tokens = sum(len(text.ids) for text in texts)
    found = {}
    for layer in layers:
        lengths = anatomy.projections[layer].weight.norm(dim=0)
        found[layer] = Seen(torch.cat(entered[layer]), torch.stack(used[layer]).sum(0) / tokens * lengths)
    return found


@torch.no_grad()
def bake_gate(anatomy: Anatomy, layer: int, gate: Gate, use: Tensor, shift: Tensor) -> None:
    """Let two neurons of a layer's MLP write the shift where the gate is open.

    Raises:
        BadInput: The MLP's activation is none that passes what is large and stops what is small.
    """
    mlp: Any = anatomy.blocks[layer].mlp
    activation = getattr(mlp, "act_fn", None) or mlp.act
    ends = activation(torch.tensor([3 * SHARP, -3 * SHARP]))
    if not torch.allclose(ends, torch.tensor([3 * SHARP, 0.0]), atol=1e-3):
        raise BadInput("the activation of this model's MLPs makes no gate; steer without one")
    give_biases(anatomy)
    slope = SHARP / (gate.full - gate.opens)
    entry = mlp.gate_proj if hasattr(mlp, "gate_proj") else mlp.c_fc
    into = entry.weight if isinstance(entry, nn.Linear) else entry.weight.T
    for turn, neuron in enumerate(use.argsort()[:2].tolist()):
        into[neuron] = (slope * gate.weight).to(into)
        entry.bias[neuron] = -slope * (gate.offset + gate.opens) - turn * SHARP
        if hasattr(mlp, "up_proj"):
            mlp.up_proj.weight[neuron], mlp.up_proj.bias[neuron] = 0.0, 1.0
        anatomy.projections[layer].weight[:, neuron] = ((-1) ** turn / SHARP * shift).to(into)
