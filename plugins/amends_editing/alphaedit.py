"""AlphaEdit: updates that the keys of running text cannot feel (Fang et al., 2025, "Null-Space Constrained Editing").

The update is projected onto the directions that running text hardly uses; within them it is a ridge regression on the
new keys and on those of earlier edits. Only a basis of that null space is kept, not the square projector.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from amends import BadInput
from amends_editing.desk import Desk, Factors, spread
from amends_editing.solving import null_space, projected
from amends_editing.targets import Wish


def bases(desk: Desk, threshold: float) -> dict[int, Tensor]:
    """Return a basis of each layer's null space; worth keeping for later batches.

    Raises:
        BadInput: A layer has no direction that running text uses so little: nothing could be written there.
    """
    found = {layer: null_space(covariance, threshold) for layer, covariance in desk.covariances.items()}
    empty = [layer for layer, basis in found.items() if not basis.shape[1]]
    if empty:
        raise BadInput(
            f"no direction of layer {empty[0]} lies below a threshold of {threshold:g}, so that nothing can be written "
            "there; take a larger one (-p threshold=0.7)"
        )
    return found


def prepare(desk: Desk, threshold: float, weight: float) -> Callable[[Desk, Sequence[Wish]], list[Factors]]:
    """Return what writes a batch, with the bases computed once."""
    basis = bases(desk, threshold)
    return lambda at, wishes: edit(at, wishes, basis, weight)


def edit(desk: Desk, wishes: Sequence[Wish], basis: dict[int, Tensor], weight: float) -> list[Factors]:
    """Write a batch of facts.

    Args:
        desk: What to work with.
        wishes: The facts.
        basis: What `bases` returned.
        weight: λ, the ridge.
    """

    def right_of(layer: int, keys: Tensor) -> Tensor:
        return projected(basis[layer], keys, desk.keys_before(layer), weight)

    return spread(desk, wishes, right_of)
