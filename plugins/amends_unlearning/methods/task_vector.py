"""Task arithmetic (Ilharco et al., 2023): learn the forgotten more deeply, then subtract what that changed.

How much of it is subtracted is found on the method's half of the records: as much as brings the forgotten nearest to
their level without the kept losing too much.
"""

from __future__ import annotations

import math
from functools import partial

from amends import Records, Task
from amends.operation.descent import adamw, step_down

from ..packed import loss_of
from .adapting import LowRank, Whole, change_of, copied, put_back, training
from .gauge import Nearest, gauge_of
from .loop import steps_of
from .material import Material, Settings, gather
from .resuming import Resumable

SCALES = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0)


def unlearn(task: Task, forget: Records, retain: Records, settings: Settings, control: Records | None = None) -> None:
    """Write the source's model minus a multiple of what learning the forgotten records adds to it."""
    material, settings = gather(task, forget, retain, settings)
    gauge = gauge_of(material, settings, control)
    material.never = None  # its level is all that is needed of it
    change = change_of(material.model, settings.layers, settings.rank, settings.weights, material.seed)
    start = copied(change)
    done = learn(task, material, change, settings)
    learnt = copied(change)
    put_back(change, start)
    best = Nearest(gauge, 0.0)
    for number, scale in enumerate(SCALES):
        task.progress(done + number, done + len(SCALES), "finding how much to subtract")
        change.scale(learnt, start, -scale)
        above, fallen = best.look(partial(float, scale), change)
        if above <= 0 or fallen > 2 * settings.spare:
            break
    change.scale(learnt, start, -best.state)
    change.settle(material.model)
    task.save(material.model, material.tokenizer)


def learn(task: Task, material: Material, change: LowRank | Whole, settings: Settings) -> int:
    """Fine-tune the change on the forgotten records, and return in how many steps."""
    optimiser = adamw(change.parameters(), settings.lr)
    steps = list(steps_of(len(material.lost), len(material.kept), settings, material.seed))
    resumable = math.ceil(len(steps) / settings.epochs / 4)
    run = Resumable(task, material, settings, change, optimiser)
    done = run.begin()
    with training(change):
        for number, (lost, _) in enumerate(steps[done:], start=done + 1):
            task.progress(number - 1, len(steps) + len(SCALES), "learning what to subtract")
            with change.armed(material.model):
                loss = loss_of(material.model, [material.lost[place] for place in lost], settings.layers)
                step_down(optimiser, change.parameters(), loss)
            if number % resumable == 0 or number == len(steps):
                run.keep(number)
    return len(steps)
