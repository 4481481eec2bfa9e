"""Carry knowledge neurons of a teacher into a student's MLPs: the neuron variant of parametric transfer.

A neuron is a row of gate and of up, and a column of down. Those that the teacher's answers hang on most (Dai et al.,
2022) are mapped between the residual streams by least squares and become further neurons of the student, or take the
place of those that it uses least; then they alone are tuned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from amends import BadInput, Records, Task
from amends.operation.descent import check_finite
from amends.operation.files import load_model
from amends_distillation.transfer.aligning import least_squares, states_of
from amends_distillation.transfer.anatomy import Anatomy, anatomy_of
from amends_distillation.transfer.attribution import attributions
from amends_distillation.transfer.pkt import RANDOM, SEED_ONLY, SELF
from amends_distillation.transfer.samples import Sample, samples_of
from amends_distillation.transfer.seats import Neurons, Seats, tune, widen
from amends_distillation.transfer.stages import Stages
from amends_distillation.transfer.tuning import Tuning


@dataclass(frozen=True)
class Graft:
    """How to carry neurons.

    Args:
        init: Which: the `teacher`'s most telling, `random` ones of the teacher, the student's own (`self`), or
            random ones that are tuned on the seed set alone (`seed-only`).
        count: How many altogether.
        place: `widen` makes the MLPs wider, `replace` takes the seats that the student uses least.
        path: Steps of the integrated gradients.
        tuning: How the carried neurons are tuned.
    """

    init: str
    count: int
    place: str
    path: int
    tuning: Tuning

    def __post_init__(self) -> None:
        """Refuse a graft of nothing.

        Raises:
            BadInput: A number is below one.
        """
        if self.count < 1 or self.path < 1:
            raise BadInput(f"neurons is {self.count} and path {self.path}; both must be 1 or more")


def transfer(task: Task, seeds: Records, records: Records, how: Graft) -> None:
    """Carry neurons into the source, tune them, and write it.

    Args:
        task: The task; `task.models["teacher"]` is read unless the neurons are the student's own.
        seeds: The seed set: which neurons tell, and, with the records, which states are equal.
        records: What the neurons are tuned on; with `seed-only`, the seed set is.
        how: How.
    """
    stages = Stages(task)
    student, tokenizer = task.load()
    anatomy = anatomy_of(student)
    shown, taught = samples_of(tokenizer, seeds), samples_of(tokenizer, records)
    origin, other = (anatomy, tokenizer) if how.init == SELF else _teacher(task)
    if other.get_vocab() != tokenizer.get_vocab():
        raise BadInput("teacher and student cut text into other tokens, so no states can be paired; carry submatrices")
    origin.check_unbiased(("gate", "up"))
    chosen = choose(origin, shown, how, task.seed, stages)
    carried = carry(origin, anatomy, chosen, [*shown, *taught], stages)
    heed = stages.stage("finding the seats used least", 0.6, 0.65)
    seats = widen(anatomy, carried) if how.place == "widen" else Seats.least_used(anatomy, carried, taught, heed)
    seats.fill(anatomy, carried)
    tune(anatomy, seats, shown if how.init == SEED_ONLY else taught, how.tuning, task.seed, stages)
    for parameter in student.parameters():
        check_finite(parameter)
    stages.end("carried the neurons")
    task.save(student, tokenizer)


def _teacher(task: Task) -> tuple[Anatomy, Any]:
    model, tokenizer = load_model(task.models["teacher"], task.device)
    return anatomy_of(model), tokenizer


def choose(anatomy: Anatomy, samples: Sequence[Sample], how: Graft, seed: int, stages: Stages) -> list[tuple[int, int]]:
    """Return layer and number of the neurons to carry, in order.

    Raises:
        BadInput: There are not so many.
    """
    width = anatomy.linear(0, "down").in_features
    if how.count > anatomy.depth * width:
        raise BadInput(f"neurons is {how.count}, and the model has {anatomy.depth * width}; carry fewer")
    if how.init in (RANDOM, SEED_ONLY):
        order = torch.randperm(anatomy.depth * width, generator=torch.Generator().manual_seed(seed))
    else:
        heed = stages.stage("reading which neurons answers hang on", 0.0, 0.4)
        order = attributions(anatomy, samples, how.path, heed).flatten().argsort(descending=True, stable=True)
    return sorted((int(place) // width, int(place) % width) for place in order[: how.count])


def carry(
    teacher: Anatomy, student: Anatomy, chosen: Sequence[tuple[int, int]], samples: Sequence[Sample], stages: Stages
) -> dict[int, Neurons]:
    """Return the chosen neurons as the student's residual stream reads and writes them, by the student's layer.

    A layer of the teacher goes to the layer of the student at the same share of its depth. What a neuron writes goes
    through the map from the teacher's block outputs to the student's; what it reads, through the map back from the
    student's normed states to the teacher's.
    """
    to = {layer: layer * student.depth // teacher.depth for layer, _ in chosen}
    theirs = states_of(teacher, samples, sorted(to), stages.stage("reading the teacher's states", 0.4, 0.5))
    ours = states_of(student, samples, sorted(set(to.values())), stages.stage("reading the student's states", 0.5, 0.6))
    found: dict[int, list[Neurons]] = {}
    for layer, place in to.items():
        numbers = torch.tensor([number for where, number in chosen if where == layer], device=teacher.device)
        read = least_squares(ours[place][0], theirs[layer][0])  # teacher's state from student's
        write = least_squares(theirs[layer][1], ours[place][1])
        found.setdefault(place, []).append(_mapped(teacher, layer, numbers, read, write))
    return {place: Neurons.joined(some) for place, some in sorted(found.items())}


def _mapped(teacher: Anatomy, layer: int, numbers: Tensor, read: Tensor, write: Tensor) -> Neurons:
    gate, up = (teacher.weight(layer, name)[numbers] @ read for name in ("gate", "up"))
    return Neurons(gate, up, write @ teacher.weight(layer, "down")[:, numbers])
