"""Task arithmetic (Ilharco et al., 2023): learn the forgotten more deeply, then subtract what that changed.

How much of it is subtracted is found on the method's half of the records: as much as brings the forgotten nearest to
their level without the kept losing too much.
"""

from __future__ import annotations

import torch
from torch import Tensor

from amends import Records, Task

from ..training import loss_of
from .adapting import Change, change_of, copied, put_back, training
from .loop import CLIP, Gauge, Material, Settings, finite, gather, gauge_of, steps_of

SCALES = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0)


def unlearn(task: Task, forget: Records, retain: Records, settings: Settings, control: Records | None = None) -> None:
    """Write the source's model minus a multiple of what learning the forgotten records adds to it."""
    material, settings = gather(task, forget, retain, settings)
    gauge = gauge_of(task, material, settings, control)
    change = change_of(material.model, settings.layers, settings.rank, settings.weights, material.seed)
    start = copied(change)
    done = learn(task, material, change, settings)
    learnt = copied(change)
    put_back(change, start)
    change.scale(learnt, start, -how_much(task, gauge, change, learnt, start, settings.spare, done))
    change.settle(material.model)
    task.save(material.model, material.tokenizer)


def learn(task: Task, material: Material, change: Change, settings: Settings) -> int:
    """Fine-tune the change on the forgotten records, and return in how many steps."""
    optimiser = torch.optim.AdamW(change.parameters(), lr=settings.lr, weight_decay=0.0, foreach=False)
    steps = list(steps_of(len(material.lost), len(material.kept), settings, material.seed))
    with training(change):
        for number, (lost, _) in enumerate(steps):
            task.progress(number, len(steps) + len(SCALES), "learning what to subtract")
            optimiser.zero_grad()
            with change.armed(material.model):
                loss = loss_of(material.model, [material.lost[place] for place in lost], settings.layers)
                finite(loss.detach())
                torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(change.parameters(), CLIP, foreach=False)
            optimiser.step()
    return len(steps)


def how_much(
    task: Task, gauge: Gauge, change: Change, learnt: list[Tensor], start: list[Tensor], spare: float, done: int
) -> float:
    """Return the multiple that brings the forgotten nearest to their level while the kept lose no more than `spare`."""
    best, nearest = 0.0, abs(gauge.read()[0])
    for number, scale in enumerate(SCALES):
        task.progress(done + number, done + len(SCALES), "finding how much to subtract")
        change.scale(learnt, start, -scale)
        above, fallen = gauge.read(change)
        if abs(above) < nearest and fallen <= spare:
            best, nearest = scale, abs(above)
        if above <= 0 or fallen > 2 * spare:
            break
    change.scale(learnt, start, 0.0)
    return best
