"""ROME: one fact in one layer, as a rank-one update (Meng et al., 2022, "Locating and Editing Factual Associations").

With the correction of R-ROME (Gupta et al., 2024): the same key, the mean over the contexts, stands everywhere in the
closed form. The first implementation took the bare prompt's key in one place, and a model edited in a row collapsed.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from amends_editing.desk import Desk, Factors, spread
from amends_editing.solving import rank_one
from amends_editing.targets import Wish


def edit(desk: Desk, wishes: Sequence[Wish]) -> list[Factors]:
    """Write facts one after another; each sees what the ones before it did.

    Args:
        desk: What to work with; needs moments, and one layer.
        wishes: The facts.
    """

    def right_of(layer: int, keys: Tensor) -> Tensor:
        return rank_one(desk.lowers[layer], keys)  # Δ k = v* − W k

    return [factors for wish in wishes for factors in spread(desk, [wish], right_of, is_rank_one=True)]
