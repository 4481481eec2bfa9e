"""Carry what was changed in one model into another that shares some of its vocabulary (Dar et al., 2023)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from amends import AmendsError, BadInput, Task
from amends.operation.files import load_model
from amends_distillation.transfer.anatomy import anatomy_of
from amends_distillation.transfer.carrying import Carrier
from amends_distillation.transfer.deltas import Change, Place, deltas
from amends_distillation.transfer.stages import Stages
from amends_distillation.transfer.vocabulary import shared_lenses


@dataclass(frozen=True)
class Projection:
    """How to carry a change.

    Args:
        by: Which map between the residual streams: `lens` or `embedding`.
        rank: How many directions of each changed map are carried; 0 for all of them.
        strength: How many times they are written.
    """

    by: str
    rank: int
    strength: float

    def __post_init__(self) -> None:
        """Refuse a rank below zero.

        Raises:
            BadInput: It is.
        """
        if self.rank < 0:
            raise BadInput(f"rank is {self.rank}; give 0 for every direction, or how many")


def project(task: Task, how: Projection) -> None:
    """Write the source with the difference of `task.models["edited"]` and `task.models["original"]` in it.

    Raises:
        BadInput: The two have the same weights, or differ in what cannot be carried.
        AmendsError: What would be written is NaN or infinite.
    """
    stages = Stages(task)
    found = deltas(task.models["edited"], task.models["original"])
    if not found:
        raise BadInput(
            "edited and original have the same weights, so there is nothing to carry; what stands beside the weights "
            "cannot be carried"
        )
    first, first_words = load_model(task.models["original"], task.device)
    second, second_words = task.load()
    one, two = anatomy_of(first), anatomy_of(second)
    carrier = Carrier.between(one, two, shared_lenses((one, first_words), (two, second_words)), how.by)
    layers = sorted({layer for layer, _ in found})
    there = carrier.matcher.layers(layers, stages.stage("matching the layers", 0.0, 0.5))
    heed = stages.stage("carrying the change", 0.5, 1.0)
    changes = {place: Change.of(delta, how.rank) for place, delta in found.items()}
    write(carrier, changes, there, how.strength, heed)
    stages.end("carried the change")
    task.save(second, second_words)


@torch.no_grad()
def write(
    carrier: Carrier,
    changes: Mapping[Place, Change],
    there: Mapping[int, int],
    strength: float,
    heed: Callable[[int, int], None],
) -> None:
    """Add changes to the second model, each in the layer that its own is matched with.

    All are carried before the first is added: what is matched is the model as it was.

    Raises:
        AmendsError: One is NaN or infinite.
    """
    made = {}
    for number, ((layer, name), change) in enumerate(changes.items()):
        heed(number, len(changes))
        made[there[layer], name] = strength * carrier.carry(change, name, layer, there[layer])
    for place, delta in made.items():
        if not bool(delta.isfinite().all()):
            raise AmendsError("what was carried became NaN or infinite, so nothing is written; look at both models")
        weight = carrier.second.weight(*place)
        weight.copy_(weight.double() + delta)
