"""How much of its teacher a student has kept: perplexity, divergence and first choices on a text neither learnt on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amends import ProbeTask, Reading, Records
from amends.operation.power import power_of_mean
from amends.operation.statistics import bootstrap_by_person, count_people, perplexity
from amends_distillation.beside import Read, read_both, reads_alike, true_logp
from amends_distillation.divergences import forward_kl

Array = NDArray[Any]
RISE = 1.1  # of the ratio, whose power is stated


def read_fidelity(task: ProbeTask, text: Records, *, most: int, length: int) -> list[Reading]:
    """Read the student's perplexity over the teacher's, KL(teacher || student) a token, and shared first choices.

    Under two vocabularies the ratio is of the whole text's likelihood, for each token as the teacher counts them, which
    under one is the ratio of perplexities; the other two cannot be read then and are NaN.
    """
    is_alike = reads_alike(task)
    rows, whose = [], []
    for read in read_both(task, text, most, length):
        rows.append(_measured(read, is_alike))
        whose.append(read.whose)
    found = np.array(rows, dtype=float).reshape(len(rows), 6)
    return [
        _reading(task, "ratio", found, whose, _ratio, "ratio"),
        _reading(task, "perplexity", found, whose, _perplexity, "perplexity"),
        _reading(task, "kl", found, whose, _kl, "nats a token"),
        _reading(task, "agreement", found, whose, _agreement, "share of tokens"),
    ]


def _measured(read: Read, is_alike: bool) -> list[float]:
    """Return losses and tokens of student and teacher, in nats, and the sums of divergence and shared choices."""
    own, others = true_logp(read.student, read.ids), true_logp(read.teacher, read.teacher_ids)
    sums = [-float(own.sum()), float(len(own)), -float(others.sum()), float(len(others))]
    if not is_alike:
        return [*sums, math.nan, math.nan]
    shared = read.student.argmax(-1) == read.teacher.argmax(-1)
    return [*sums, float(forward_kl(read.teacher, read.student).sum()), float(shared.sum())]


def _ratio(rows: Array, weights: Array) -> Array:
    sums: Array = weights @ rows[:, :4]
    ratio: Array = np.exp((sums[:, 0] - sums[:, 2]) / sums[:, 3])
    return ratio


def _perplexity(rows: Array, weights: Array) -> Array:
    return perplexity(rows[:, :2], weights)


def _kl(rows: Array, weights: Array) -> Array:
    sums: Array = weights @ rows[:, [1, 4]]
    return np.asarray(sums[:, 1] / sums[:, 0])


def _agreement(rows: Array, weights: Array) -> Array:
    sums: Array = weights @ rows[:, [1, 5]]
    return np.asarray(sums[:, 1] / sums[:, 0])


def _reading(task: ProbeTask, name: str, rows: Array, whose: Sequence[str], statistic: Any, unit: str) -> Reading:
    full = f"distillation.fidelity/{name}"
    if not len(rows):
        return Reading(full, math.nan, unit=unit)
    value = float(statistic(rows, np.ones((1, len(rows))))[0])
    low, high = bootstrap_by_person(rows, whose, statistic, seed=task.seed) or (None, None)
    people, detail, power = count_people(whose), {"tokens": int(rows[:, 1].sum())}, None
    if name == "ratio":
        apart = (rows[:, 0] - rows[:, 2]) / rows[:, 3]
        spread = float(np.std(apart, ddof=1)) if len(rows) > 1 else math.nan
        power = power_of_mean(people, math.log(RISE), spread)
    return Reading(full, value, low, high, people, unit, power, detail)
