"""Gradient ascent (Jang et al., 2023): undo learning by climbing the forgotten answers' loss. A control.

Nothing bounds the loss from above and nothing is rehearsed, so that it ruins a model unless it is stopped in time.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..training import loss_of
from .material import Loss, Material


def objective(material: Material) -> Loss:
    """Return L = -NLL(forget); `graddiff` adds the loss of what is kept (Maini et al., 2024; Liu et al., 2022)."""

    def loss(places: Sequence[int]) -> Tensor:
        return -loss_of(material.model, [material.lost[place] for place in places], material.layers)

    return loss
