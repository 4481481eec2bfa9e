"""MEMIT: many facts in one update, spread over a few layers (Meng et al., 2023, "Mass-Editing Memory").

With `earlier` keys in the problem, later batches leave earlier ones alone: the constraint that the paper puts on what
the model knew, λC, is put on what it was taught as well.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from amends_editing.desk import Desk, Factors, spread
from amends_editing.solving import factor, ridge
from amends_editing.targets import Wish


def edit(desk: Desk, wishes: Sequence[Wish], weight: float, remember: bool = True) -> list[Factors]:
    """Write a batch of facts.

    Args:
        desk: What to work with; needs moments.
        wishes: The facts.
        weight: λ of eq. 14: how much running text counts against the facts.
        remember: Whether the keys of earlier edits are held still, too.
    """

    def right_of(layer: int, keys: Tensor) -> Tensor:
        earlier = desk.keys_before(layer)
        if not remember or not earlier.shape[1]:
            return ridge(desk.lowers[layer], keys, weight)
        known = desk.covariances[layer] + earlier @ earlier.T / weight
        return ridge(factor(known), keys, weight)

    return spread(desk, wishes, right_of)
