"""How much a model's loss hangs on each of its parameters (PKT, Zhong et al., 2024, equation 2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from amends.operation.descent import check_finite, trainable
from amends_distillation.transfer.anatomy import Anatomy
from amends_distillation.transfer.samples import Sample, mean_loss

Place = tuple[int, str]
Heed = Callable[[int, int], None]


def sensitivity_of(anatomy: Anatomy, samples: Sequence[Sample], heed: Heed) -> dict[Place, Tensor]:
    """Return S = sum over samples of |theta * dL/dtheta|, for every linear map of every block.

    To first order, theta * dL/dtheta is by how much the loss would change if the parameter were zero. Each sample has
    a backward pass of its own: absolute values of a batch's gradient would let samples cancel each other.

    Args:
        anatomy: The teacher.
        samples: The seed set.
        heed: Told how many samples are done, of how many.

    Returns:
        By layer and map, shape of the map's weight.

    Raises:
        AmendsError: A loss is NaN or infinite.
    """
    weights = {(layer, name): linear.weight for layer, name, linear in anatomy.maps()}
    found = {place: torch.zeros_like(weight) for place, weight in weights.items()}
    with trainable(list(weights.values())):
        for number, sample in enumerate(samples):
            heed(number, len(samples))
            loss = mean_loss(anatomy.model, [sample])
            check_finite(loss.detach())
            gradients = torch.autograd.grad(loss, list(weights.values()))
            for (place, weight), gradient in zip(weights.items(), gradients, strict=True):
                found[place] += (weight.detach() * gradient).abs()
    return found


def choose_layers(sensitivity: Mapping[Place, Tensor], count: int) -> list[int]:
    """Return the layers with the largest sums, in their order; of equal ones the lower.

    Args:
        sensitivity: By layer and map.
        count: How many.
    """
    totals: dict[int, float] = {}
    for (layer, _), values in sensitivity.items():
        totals[layer] = totals.get(layer, 0.0) + float(values.double().sum())
    return sorted(sorted(totals, key=lambda layer: (-totals[layer], layer))[:count])
