"""UltraEdit: one forward and one backward pass for a batch, no subject span, no statistics of running text.

(Gu et al., 2025, "UltraEdit: Training-, Subject-, and Memory-Free Lifelong Editing".) At the tokens that predict the
answer, each layer's key h and the gradient g of what it puts out are normalised by their running mean and deviation;
the wanted change is v = -η (h·ĥ) ĝ, and the update solves (HᵀH + I) Δᵀ = HᵀV.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from amends import BadInput
from amends_editing.answering import answer_loss, pack
from amends_editing.desk import Desk, Factors
from amends_editing.facts import row_of
from amends_editing.tails import Row
from amends_editing.targets import Wish

FLOOR = 1e-7
DEPTH = (0.6, 0.77)  # of six layers of SmolLM2 at a time, these took most edits of counterfact-val


@dataclass
class Running:
    """Mean and deviation of each feature over all that was seen in this case (Welford, 1962)."""

    count: int = 0
    mean: Tensor = field(default_factory=lambda: torch.zeros(()))
    squares: Tensor = field(default_factory=lambda: torch.zeros(()))

    def take(self, rows: Tensor) -> None:
        """Take rows in, shape (rows, features)."""
        new = len(rows)
        mean = rows.mean(0)
        gap, total = mean - self.mean, self.count + new
        self.squares = self.squares + (rows - mean).pow(2).sum(0) + gap**2 * self.count * new / total
        self.mean, self.count = self.mean + gap * new / total, total

    def normalise(self, rows: Tensor) -> Tensor:
        """Return rows with mean 0 and deviation 1, as far as is known."""
        deviation = (self.squares / max(self.count - 1, 1)).sqrt()
        return (rows - self.mean) / (deviation + FLOOR)


@dataclass
class _Caught:
    """What one layer's projection saw at the tokens that predict the answers."""

    places: tuple[Tensor, ...]
    shape: tuple[int, int]
    keys: Tensor = field(default_factory=lambda: torch.empty(0))
    out: Tensor = field(default_factory=lambda: torch.empty(0))

    def catch(self, _: nn.Module, args: Any, out: Tensor) -> Tensor:
        """Keep the keys, and make the output a leaf whose gradient can be asked for."""
        self.keys = args[0].reshape(*self.shape, -1)[self.places].detach()
        self.out = out if out.requires_grad else out.requires_grad_(True)
        return self.out


def prepare(rate: float) -> Callable[[Desk, Sequence[Wish]], list[Factors]]:
    """Return what writes a batch, with statistics that grow from one to the next."""
    seen: dict[int, tuple[Running, Running]] = {}
    return lambda desk, wishes: edit(desk, wishes, seen, rate)


def edit(desk: Desk, wishes: Sequence[Wish], seen: dict[int, tuple[Running, Running]], rate: float) -> list[Factors]:
    """Write a batch of facts.

    Args:
        desk: What to work with.
        wishes: The facts, none of them to be erased.
        seen: By layer, what keys and gradients were like so far; brought up to date.
        rate: η.

    Raises:
        BadInput: There is one token in all so far: it is its own mean, and nothing would be written.
    """
    caught = _backward(desk, wishes)
    made = []
    for layer in desk.layers:
        keys, gradients = caught[layer]
        about_keys, about_gradients = seen.setdefault(layer, (Running(), Running()))
        about_keys.take(keys)
        about_gradients.take(gradients)
        if about_keys.count < 2:
            raise BadInput(
                "editing.ultraedit normalises over the tokens of its answers, and there is one; take more facts at "
                "once, or editing.memit"
            )
        coefficients = -rate * (keys * about_keys.normalise(keys)).sum(1, keepdim=True)
        values = coefficients * about_gradients.normalise(gradients)
        small = keys @ keys.T
        small.diagonal().add_(1.0)
        right = torch.linalg.solve(small, keys).T  # Hᵀ(HHᵀ + I)⁻¹ = (HᵀH + I)⁻¹Hᵀ
        made.append(Factors(layer, values.T.float(), right.float()))
    for factors in made:
        factors.apply(desk.anatomy)
    return made


def _backward(desk: Desk, wishes: Sequence[Wish]) -> dict[int, tuple[Tensor, Tensor]]:
    """Return keys and gradients at the predicting tokens of each layer, float64, shapes (tokens, features)."""
    found: dict[int, list[tuple[Tensor, Tensor]]] = {layer: [] for layer in desk.layers}
    rows = [row_of(desk.tokenizer, w.fact.prompt, w.fact.subject, w.fact.target) for w in wishes]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].tokens))
    for start in range(0, len(order), desk.solver.at_once):
        desk.progress(start, len(order), "one pass through the model")
        for layer, pair in _pass(desk, [rows[i] for i in order[start : start + desk.solver.at_once]]).items():
            found[layer].append(pair)
    desk.progress(len(order), len(order), "one pass through the model")
    return {
        layer: (torch.cat([k for k, _ in pairs]).double().cpu(), torch.cat([g for _, g in pairs]).double().cpu())
        for layer, pairs in found.items()
    }


def _pass(desk: Desk, rows: Sequence[Row]) -> dict[int, tuple[Tensor, Tensor]]:
    packed = pack(desk.anatomy, rows)
    shape = (packed.tokens.shape[0], packed.tokens.shape[1])
    caught = {layer: _Caught(packed.places, shape) for layer in desk.layers}
    modules = {layer: desk.anatomy.projections[layer].module for layer in desk.layers}
    hooks = [modules[layer].register_forward_hook(one.catch) for layer, one in caught.items()]
    try:
        loss = answer_loss(desk.anatomy, packed).sum()
    finally:
        for hook in hooks:
            hook.remove()
    gradients = torch.autograd.grad(loss, [one.out for one in caught.values()])
    return {
        layer: (one.keys, gradient.reshape(*shape, -1)[packed.places])
        for (layer, one), gradient in zip(caught.items(), gradients, strict=True)
    }
