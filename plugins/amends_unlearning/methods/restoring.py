"""Give the kept answers back what forgetting took from them, and leave the forgotten as they are.

A second adapter learns the kept records once more. It reads its inputs through a projector that closes what the
forgotten records use (orthogonal weight modification: Zeng et al., 2019), the other way round from the adapter that
forgot, and is only taken where the method's half shows that the kept gained, and that the forgotten stayed near their
level or regained no more than the kept may lose.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from amends import Task
from amends.operation.descent import adamw, step_down

from ..lora import seed_of
from ..packed import loss_of
from .adapting import change_of, training
from .gauge import Gauge
from .material import Material, Settings

LR = 2e-3  # that of `training.finetune`


def restore(task: Task, material: Material, settings: Settings, gauge: Gauge, reading: tuple[float, float]) -> bool:
    """Teach the changed model its kept records once more, and return whether that was taken.

    No more of them are taken than the forgetting may have rehearsed: `epochs` times the forgotten.

    Args:
        task: Told how far it is; sees a cancellation before each step.
        material: The model with what was forgotten merged into it, and the records.
        settings: Those of the forgetting.
        gauge: What reads the method's half.
        reading: What it read of this model.

    Raises:
        AmendsError: A loss or a reading is not finite.
    """
    before, lost = reading
    if reading == (gauge.first, 0.0):
        return False  # nothing was changed
    seed = _own(material.seed)
    change = change_of(material.model, settings.layers, settings.rank, "adapter", seed, list(material.lost))
    optimiser = adamw(change.parameters(), LR)
    batches = list(batches_of(len(material.kept), len(material.lost), settings, material.seed))
    behind = settings.epochs * math.ceil(len(material.lost) / settings.batch)
    with training(change):
        for number, places in enumerate(batches):
            task.progress(behind + number, behind + len(batches), "restoring what is kept")
            optimiser.param_groups[0]["lr"] = LR * (1 - number / len(batches))
            with change.armed(material.model):
                loss = loss_of(material.model, [material.kept[place] for place in places], settings.layers)
                step_down(optimiser, change.parameters(), loss)
    after, still_lost = gauge.read(change)
    if still_lost >= lost or abs(after) > max(abs(before) + settings.spare, settings.near):
        return False
    change.settle(material.model)
    return True


def batches_of(kept: int, lost: int, settings: Settings, seed: str) -> Iterator[list[int]]:
    """Yield places of kept records in an order drawn from the seed, each at most once."""
    order = torch.randperm(kept, generator=torch.Generator().manual_seed(seed_of(_own(seed)))).tolist()
    taken = order[: settings.epochs * lost]
    for start in range(0, len(taken), settings.batch):
        yield taken[start : start + settings.batch]


def _own(seed: str) -> str:
    return f"{seed}:restoring"
