"""Parametric knowledge transfer (PKT, Zhong et al., 2024, arXiv 2310.11451), and the controls that judge it.

The most sensitive submatrices of a teacher give a low-rank change of the student its start. "Neural Incompatibility"
(Tan et al., 2025, arXiv 2505.14436) found such starts unstable; so three controls differ from it in one thing each: a
random start, a start from the student's own matrices, and no other records than the seed set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from amends import BadInput, Records, Task
from amends.operation.descent import check_finite, descend, draws
from amends.operation.files import load_model
from amends_distillation.transfer.anatomy import MAPS, Anatomy, anatomy_of
from amends_distillation.transfer.cutting import best_submatrix
from amends_distillation.transfer.grafts import Factors, Grafts, factors_of, random_factors
from amends_distillation.transfer.samples import Sample, mean_loss, samples_of
from amends_distillation.transfer.sensitivity import Place, choose_layers, sensitivity_of
from amends_distillation.transfer.stages import Stages
from amends_distillation.transfer.tuning import Tuning

TEACHER, RANDOM, SELF, SEED_ONLY = "teacher", "random", "self", "seed-only"


@dataclass(frozen=True)
class Transfer:
    """How to transfer.

    Args:
        init: Where the change begins.
        rank: Of the change, above zero.
        tuning: How it is tuned.
    """

    init: str
    rank: int
    tuning: Tuning

    def __post_init__(self) -> None:
        """Refuse a change without a rank.

        Raises:
            BadInput: The rank is not above zero.
        """
        if self.rank < 1:
            raise BadInput(f"rank is {self.rank}; a change needs a rank of 1 or more")


def transfer(task: Task, seeds: Records, records: Records, how: Transfer) -> None:
    """Start a low-rank change of the source from its teacher or as a control does, tune it and merge it.

    Args:
        task: The task; `task.models["teacher"]` is read where the start is the teacher's.
        seeds: The seed set, on which the teacher's sensitivity is read.
        records: What the student is tuned on; the control `seed-only` is tuned on the seed set.
        how: How to transfer.
    """
    stages = Stages(task)
    student, tokenizer = task.load()
    anatomy = anatomy_of(student)
    starts = starts_of(task, anatomy, seeds, how, stages)
    grafts = Grafts(anatomy, starts)
    samples = samples_of(tokenizer, seeds if how.init == SEED_ONLY else records)
    tune(anatomy, grafts, samples, how.tuning, task.seed, stages)
    grafts.merge()
    for parameter in student.parameters():
        check_finite(parameter)
    stages.end("merged the change")
    task.save(student, tokenizer)


def starts_of(task: Task, student: Anatomy, seeds: Records, how: Transfer, stages: Stages) -> dict[Place, Factors]:
    """Return where the change of each linear map of the student begins."""
    if how.init == TEACHER:
        model, tokenizer = load_model(task.models["teacher"], task.device)
        return teacher_starts(anatomy_of(model), student, samples_of(tokenizer, seeds), how.rank, stages)
    if how.init == SELF:
        return {(layer, name): factors_of(linear.weight, how.rank) for layer, name, linear in student.maps()}
    generator = torch.Generator().manual_seed(task.seed)
    found = {}
    for layer, name, linear in student.maps():
        down, up = random_factors(linear.out_features, linear.in_features, how.rank, generator)
        found[layer, name] = (down.to(student.device), up.to(student.device))
    return found


def teacher_starts(
    teacher: Anatomy, student: Anatomy, seeds: Sequence[Sample], rank: int, stages: Stages
) -> dict[Place, Factors]:
    """Return the factors of the teacher's most sensitive submatrix, for every linear map of the student.

    Embeddings and head stay out: their rows are tokens, of which a submatrix would mix up which is which.

    Raises:
        BadInput: The student is deeper or wider than the teacher.
    """
    if student.depth > teacher.depth:
        raise BadInput(
            f"the student has {student.depth} layers and the teacher {teacher.depth}; take a teacher that is at least "
            "as deep"
        )
    sensitivity = sensitivity_of(teacher, seeds, stages.stage("reading the teacher's sensitivity", 0.0, 0.4))
    heed = stages.stage("cutting the teacher's matrices", 0.4, 0.5)
    found: dict[Place, Factors] = {}
    for layer, origin in enumerate(choose_layers(sensitivity, student.depth)):
        heed(layer, student.depth)
        for name in MAPS:
            found[layer, name] = factors_of(_cut(teacher, student, sensitivity, origin, layer, name), rank)
    return found


def _cut(
    teacher: Anatomy, student: Anatomy, sensitivity: dict[Place, Tensor], origin: int, layer: int, name: str
) -> Tensor:
    cut = best_submatrix(sensitivity[origin, name], *student.weight(layer, name).shape)
    return cut.of(teacher.weight(origin, name)).to(student.device)


def tune(anatomy: Anatomy, grafts: Any, samples: Sequence[Sample], tuning: Tuning, seed: int, stages: Stages) -> None:
    """Train the change on samples."""
    order = draws(len(samples), tuning.batch, seed)
    heed = stages.stage("tuning the student", 0.5, 1.0)

    def loss_at(step: int) -> Tensor:
        heed(step, tuning.steps)
        return mean_loss(anatomy.model, [samples[place] for place in next(order)])

    with grafts.armed():
        descend(grafts.parameters(), tuning.steps, tuning.lr, loss_at)
