"""RLS: editing as recursive least squares (RLSEdit, 2026): the cost of a batch does not depend on those before it.

The problem is MEMIT's with every earlier key kept. Instead of factorising it anew for each batch, its inverse is held
and each batch is taken in by Woodbury's identity. It is held within a case; the next one derives it again from the keys
in the lineage's state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from amends_editing.desk import Desk, Factors, spread
from amends_editing.solving import recursive
from amends_editing.targets import Wish


def start(desk: Desk, weight: float) -> dict[int, Tensor]:
    """Return (λC)⁻¹ for each layer: what is known before the first edit."""
    return {layer: torch.cholesky_inverse(lower) / weight for layer, lower in desk.lowers.items()}


def prepare(desk: Desk, weight: float) -> Callable[[Desk, Sequence[Wish]], list[Factors]]:
    """Return what writes a batch after all earlier edits of the lineage, and takes it in."""
    inverses = start(desk, weight)
    for layer, keys in desk.earlier.items():
        inverses[layer] = recursive(inverses[layer], keys)[1]
    return lambda at, wishes: edit(at, wishes, inverses)


def edit(desk: Desk, wishes: Sequence[Wish], inverses: dict[int, Tensor]) -> list[Factors]:
    """Write a batch of facts.

    Args:
        desk: What to work with.
        wishes: The facts.
        inverses: By layer, as `start` or the last batch left them; brought up to date.
    """

    def right_of(layer: int, keys: Tensor) -> Tensor:
        gain, inverses[layer] = recursive(inverses[layer], keys)
        return gain

    return spread(desk, wishes, right_of)
