"""What every approximate method does alike: step on a loss, rehearse what is kept, stop when it is enough, and restore.

Enough is told by readings, not by a number of steps: on the method's own half of the records, the forgotten answers
have to come down to where a model that never learnt them has them, and no further, while what is kept stays. The other
half is the audit's, which a method that stopped by it would have used up.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from amends import Records, Task
from amends.operation.descent import adamw, step_down

from ..activations import Example
from ..lora import seed_of
from ..packed import answer_logp, loss_of
from .adapting import Change, change_of, copied, put_back, training
from .gauge import Gauge, Nearest, gauge_of
from .material import Loss, Material, Objective, Settings, gather
from .restoring import batches_of, restore
from .resuming import Resumable

HALVINGS = 4  # looks between a state that was not enough and one that was too much
RESUMABLE = 5  # steps of a way back, which is looked at seldom; it never narrows, and so goes on from anywhere
LEAST = 0.1  # of the learning rate, where a way back ends
SPARED = 128  # kept records whose inputs an adapter is kept clear of


def unlearn(
    task: Task,
    forget: Records,
    retain: Records,
    settings: Settings,
    objective: Objective,
    control: Records | None = None,
) -> None:
    """Write the source's model after as many steps as it takes.

    Args:
        task: Whose source is changed; its model `reference`, where it has one, is the pre-training parent, which
            tells the level to reach.
        forget: What is to be forgotten.
        retain: What is rehearsed.
        settings: How.
        objective: The method's own.
        control: Withheld people's records, which tell how that level moves, or where there is no parent what it is.

    Raises:
        BadRecords: There is nothing to forget, or nothing to keep.
        AmendsError: A loss or a reading is not finite.
    """
    material, settings = gather(task, forget, retain, settings)
    expect(material, settings)
    gauge = gauge_of(material, settings, control)
    material.drift = gauge.level.drift
    loss_of_lost = objective(material)
    material.never = None  # a second model that nobody needs any more
    is_sparing = settings.retain_weight > 0 and settings.weights == "adapter"
    spared = material.kept.few(SPARED) if is_sparing else []
    change = change_of(material.model, settings.layers, settings.rank, settings.weights, material.seed, spared)
    reading = descend(task, material, change, settings, loss_of_lost, gauge)
    change.settle(material.model)
    if settings.retain_weight > 0:
        restore(task, material, settings, gauge, reading)
    task.save(material.model, material.tokenizer)


def descend(
    task: Task, material: Material, change: Change, settings: Settings, loss_of_lost: Loss, gauge: Gauge
) -> tuple[float, float]:
    """Train the change until the gauge says enough, leave it where it was best, and return what was read there.

    Best is nearest to the level among the states in which the kept had not lost too much; the untouched model is one.

    Raises:
        AmendsError: A loss or a reading is not finite.
    """
    optimiser = adamw(change.parameters(), settings.lr)
    steps = list(steps_of(len(material.lost), len(material.kept), settings, material.seed))
    with training(change):
        best = Nearest(gauge, copied(change))
        run = Resumable(task, material, settings, change, optimiser, best)
        done, before = run.begin(), copied(change)
        for number, (lost, kept) in enumerate(steps[done:], start=done + 1):
            task.progress(number - 1, len(steps), "unlearning")
            if settings.returns:
                optimiser.param_groups[0]["lr"] = settings.lr * falling(number / len(steps))
            with change.armed(material.model):
                loss = loss_of_lost(lost)
                if settings.retain_weight:
                    rehearsed = loss_of(material.model, [material.kept[place] for place in kept], settings.layers)
                    loss = loss + settings.retain_weight * rehearsed
                step_down(optimiser, change.parameters(), loss)
            if not gauge.is_due(number, len(steps)):
                if settings.returns and number % RESUMABLE == 0:
                    run.keep(number)
                continue
            above, fallen = best.look(lambda: copied(change), change)
            if gauge.is_enough(above, fallen):
                if above < -settings.near:
                    narrow(change, best, before, settings.near)
                break
            run.keep(number)
            before = copied(change)
    put_back(change, best.state)
    return best.reading


def expect(material: Material, settings: Settings) -> None:
    """Say which kept records a whole run asks for, in its order."""
    kept = len(material.kept)
    if settings.retain_weight > 0 and settings.weights == "adapter":
        material.kept.expect(range(min(kept, SPARED)))
    for _, places in steps_of(len(material.lost), kept, settings, material.seed):
        material.kept.expect(places)
    if settings.retain_weight > 0:
        for places in batches_of(kept, len(material.lost), settings, material.seed):
            material.kept.expect(places)


def narrow(change: Change, best: Nearest[list[Tensor]], before: list[Tensor], near: float) -> None:
    """Look on the straight way from a state that was not enough to the change's own, which is too much, by halves."""
    beyond, low, high = copied(change), 0.0, 1.0
    for _ in range(HALVINGS):
        share = (low + high) / 2
        put_back(change, [old + share * (new - old) for old, new in zip(before, beyond, strict=True)])
        above, _ = best.look(lambda: copied(change), change)
        if abs(above) <= near:
            return
        low, high = (share, high) if above > 0 else (low, share)


def falling(share: float) -> float:
    """Return the share of the learning rate when so much of the steps is done: half a cosine, to `LEAST`."""
    return LEAST + (1 - LEAST) * 0.5 * (1 + math.cos(math.pi * share))


def steps_of(lost: int, kept: int, settings: Settings, seed: str) -> Iterator[tuple[list[int], list[int]]]:
    """Yield for each step which records to forget and which to rehearse; every record to keep has its turn."""
    generator = torch.Generator().manual_seed(seed_of(f"{seed}:order"))
    queue: list[int] = []
    for _ in range(settings.epochs):
        order = torch.randperm(lost, generator=generator).tolist()
        for start in range(0, lost, settings.batch):
            while len(queue) < settings.batch:
                queue += torch.randperm(kept, generator=generator).tolist()
            yield order[start : start + settings.batch], queue[: settings.batch]
            queue = queue[settings.batch :]


def sequence_logp(model: Any, examples: Sequence[Example], layers: int) -> Tensor:
    """Return the log-likelihood of each whole answer, in nats, shape (batch,)."""
    logp, owner = answer_logp(model, examples, layers)
    return torch.zeros(len(examples), device=logp.device).index_add(0, owner, logp)


def by_token(logp: Tensor, examples: Sequence[Example]) -> Tensor:
    """Return log-likelihoods of whole answers as means over their tokens, shape (batch,)."""
    return logp / torch.tensor([len(example.answer) for example in examples], device=logp.device)
