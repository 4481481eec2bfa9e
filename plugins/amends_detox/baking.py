"""Write a constant into what a block's MLP puts out, so that plain transformers loads it with the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from amends import BadInput
from amends_detox.anatomy import Anatomy

LINEAR = ("gate_proj", "up_proj", "down_proj")


def check_bias(anatomy: Anatomy) -> None:
    """Refuse a model whose projections have no bias and whose config cannot say that they got one.

    Raises:
        BadInput: It is such a model.
    """
    has_bias = all(projection.module.bias is not None for projection in anatomy.projections)
    if not has_bias and not hasattr(anatomy.model.config, "mlp_bias"):
        raise BadInput(
            f"{type(anatomy.model).__name__} has no biases and no setting for them, so plain transformers would drop "
            "one; take detox.dpo for this model"
        )


@torch.no_grad()
def bake(anatomy: Anatomy, shifts: Mapping[int, Tensor]) -> None:
    """Add a shift of shape (width,) to what the MLP of each of these layers puts out."""
    give_biases(anatomy)
    for layer, shift in shifts.items():
        bias = anatomy.projections[layer].module.bias
        bias.add_(shift.to(bias))


def give_biases(anatomy: Anatomy) -> None:
    """Give every linear map of the MLPs a bias of zeros where it has none: Llama has them everywhere or nowhere."""
    check_bias(anatomy)
    if any(projection.module.bias is None for projection in anatomy.projections):
        for block in anatomy.blocks:
            for name in LINEAR:
                _give_zeros(getattr(block.mlp, name))
        anatomy.model.config.mlp_bias = True


def _give_zeros(linear: Any) -> None:
    if linear.bias is None:
        size, weight = linear.out_features, linear.weight
        linear.bias = nn.Parameter(torch.zeros(size, dtype=weight.dtype, device=weight.device), requires_grad=False)
