"""Whether a student is as sure as it is right: expected calibration error of the next token (Guo et al., 2017)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from amends import ProbeTask, Reading, Records
from amends.operation.statistics import bootstrap_by_person, count_people
from amends_distillation.beside import read_both

if TYPE_CHECKING:
    from amends.operation.statistics import Statistic

BINS = 15
NAME = "distillation.calibration"
Array = NDArray[np.float64]


def read_calibration(task: ProbeTask, text: Records, *, most: int, length: int) -> list[Reading]:
    """Read the expected calibration error of the student, of its teacher, and how much larger the student's is."""
    own, others, whose = [], [], []
    for read in read_both(task, text, most, length):
        own.append(binned(read.student, read.ids))
        others.append(binned(read.teacher, read.teacher_ids))
        whose.append(read.whose)
    if not whose:
        return [Reading(f"{NAME}/{name}", math.nan, unit="probability") for name in ("student", "teacher", "excess")]
    joined = np.concatenate([np.array(own), np.array(others)], axis=1)
    half = 3 * BINS
    return [
        _reading(task, "student", joined, whose, lambda rows, weights: error(rows[:, :half], weights)),
        _reading(task, "teacher", joined, whose, lambda rows, weights: error(rows[:, half:], weights)),
        _reading(
            task, "excess", joined, whose,
            lambda rows, weights: error(rows[:, :half], weights) - error(rows[:, half:], weights),
        ),
    ]  # fmt: skip


def binned(logp: Tensor, ids: Tensor) -> Array:
    """Return for each bin of confidence how many tokens fall in it, their confidences and how many were right, summed.

    Args:
        logp: Log-probabilities, shape (places, vocabulary).
        ids: The tokens that came, shape (places,).

    Returns:
        Shape (3 x bins,).
    """
    best = logp.max(-1)
    sure = best.values.exp().numpy()
    right = (best.indices == ids).numpy().astype(float)
    place = np.minimum((sure * BINS).astype(int), BINS - 1)
    return np.concatenate([np.bincount(place, some, minlength=BINS) for some in (np.ones_like(sure), sure, right)])


def error(rows: Array, weights: Array) -> Array:
    """Return the sum over bins of |confidence - accuracy|, each by its share of the tokens (Guo et al., 2017, eq. 3).

    Args:
        rows: What `binned` gives, shape (passages, 3 x bins).
        weights: Of the passages, shape (resamples, passages).
    """
    counts, sure, right = np.split(weights @ rows, 3, axis=1)
    found: Array = np.abs(sure - right).sum(axis=1) / counts.sum(axis=1)
    return found


def _reading(task: ProbeTask, name: str, rows: Array, whose: Sequence[str], statistic: Statistic) -> Reading:
    value = float(statistic(rows, np.ones((1, len(rows))))[0])
    low, high = bootstrap_by_person(rows, whose, statistic, seed=task.seed) or (None, None)
    return Reading(f"{NAME}/{name}", value, low, high, count_people(whose), "probability")
