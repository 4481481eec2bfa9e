"""RMU (Li et al., 2024, "The WMDP Benchmark"): scramble what an inner layer says of the forgotten.

At one layer, activations at the forgotten answers are drawn towards one random direction of a given length, and those
at the kept ones held where they were.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from amends.operation.parameters import check_positive

from ..activations import Example
from ..lora import seed_of
from ..packed import answer_places, laid_out, run_layers
from .material import Loss, Material


def steering_loss(inner: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared distance of activations, shape (places, width), from a control vector (L_forget)."""
    return (inner - target).pow(2).mean()


def objective(material: Material, depth: int, strength: float, hold: float) -> Loss:
    """Return the loss of both halves: steering of the forgotten, holding of the kept.

    Args:
        material: What is worked with.
        depth: After how many of the adapted layers activations are read; all, where there are no more.
        strength: Length of the control vector, in mean lengths of the activations there.
        hold: Weight of the kept ones (alpha).
    """
    check_positive("unlearning", depth=depth, strength=strength, hold=hold)
    depth = min(depth, material.layers)
    held = range(min(len(material.kept), len(material.lost)))
    with torch.no_grad():
        lost = [inner_of(material, [example], depth) for example in material.lost]
        before = [inner_of(material, [material.kept[place]], depth) for place in held]
    target = strength * torch.cat(lost).norm(dim=-1).mean() * _direction(material, lost[0])

    def loss(places: Sequence[int]) -> Tensor:
        steered = inner_of(material, [material.lost[place] for place in places], depth)
        some = [place % len(held) for place in places]
        kept = inner_of(material, [material.kept[place] for place in some], depth)
        stayed = (kept - torch.cat([before[place] for place in some])).pow(2).mean()
        return steering_loss(steered, target) + hold * stayed

    return loss


def inner_of(material: Material, examples: Sequence[Example], depth: int) -> Tensor:
    """Return activations after some adapted layers where answers' tokens are predicted, shape (places, width)."""
    body = material.model.get_decoder()
    first = len(body.layers) - material.layers
    return run_layers(body, *laid_out(examples), first, first + depth).index_select(0, answer_places(examples)[0])


def _direction(material: Material, like: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(seed_of(f"{material.seed}:direction"))
    drawn = torch.rand(like.shape[-1], generator=generator)
    unit: Tensor = drawn / drawn.norm()
    return unit.to(like.device)
