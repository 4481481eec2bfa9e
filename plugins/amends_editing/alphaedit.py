"""AlphaEdit: updates that the keys of running text cannot feel (Fang et al., 2025, "Null-Space Constrained Editing").

The update is projected onto the directions that running text hardly uses; within them it is a ridge regression on the
new keys and on those of earlier edits. Only a basis of that null space is kept, not the square projector.

About as many facts as the null space has directions fit into it only at any cost: to tell their keys apart, the update
grows long, and what text there is in those directions feels it. So beyond `FEW` facts no direction is cut off, and each
has a price that grows with how much running text uses it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from amends import BadInput
from amends_editing.desk import Desk, Factors, spread
from amends_editing.solving import null_space, priced, projected
from amends_editing.targets import Wish

FEW = 100  # facts that a lineage holds, up to which the null space is cut off


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


def prepare(
    desk: Desk, threshold: float, weight: float, per_fact: float
) -> Callable[[Desk, Sequence[Wish]], list[Factors]]:
    """Return what writes a batch, with the bases computed once, where they are needed."""
    basis = {} if is_priced(desk, per_fact) else bases(desk, threshold)
    return lambda at, wishes: edit(at, wishes, basis, weight, per_fact)


def is_priced(desk: Desk, per_fact: float) -> bool:
    """Whether a lineage holds so many facts that directions have prices."""
    return per_fact > 0 and desk.held > FEW


def edit(desk: Desk, wishes: Sequence[Wish], basis: dict[int, Tensor], weight: float, per_fact: float) -> list[Factors]:
    """Write a batch of facts.

    Args:
        desk: What to work with; needs moments.
        wishes: The facts.
        basis: What `bases` returned; not looked at where directions have prices.
        weight: λ, the ridge.
        per_fact: How much running text counts for each fact that is held; 0 cuts the null space off at any number.
    """
    is_dear = is_priced(desk, per_fact)

    def right_of(layer: int, keys: Tensor) -> Tensor:
        earlier = desk.keys_before(layer)
        if is_dear:
            return priced(desk.covariances[layer], keys, earlier, weight, per_fact * desk.held)
        return projected(basis[layer], keys, earlier, weight)

    return spread(desk, wishes, right_of)
