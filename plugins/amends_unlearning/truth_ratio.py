"""Truth ratio and forget quality (Maini et al., 2024): does the model prefer the truth to plausible wrong answers?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from amends import ProbeTask, Reading, Records
from amends.operation.measuring import mean_logp, mean_reading, person_of, score_in_steps
from amends.operation.power import power_of_ks
from amends.operation.statistics import bootstrap_by_person, count_people, ks_distance

Array = NDArray[Any]

EFFECT = 0.2
DISTANCE = 0.4  # the KS distance whose power is stated


def log_truth_ratio(truth_loss: float, wrong_losses: Sequence[float]) -> float:
    """Return log TR, where TR = exp(-mean of wrong losses) / exp(-truth loss), losses being means over tokens.

    The logarithm keeps what the ratio loses: it needs no small constant against division by zero.
    """
    return truth_loss - sum(wrong_losses) / len(wrong_losses)


def closeness(log_ratios: Array) -> Array:
    """Return min(TR, 1/TR): 1 where truth and wrong answers are equally likely, as for one who never knew."""
    found: Array = np.exp(-np.abs(log_ratios))
    return found


def share_of_truth(log_ratios: Array) -> Array:
    """Return c / (c + w) = 1 / (1 + TR) for the probabilities of truth and wrong answers, without overflow."""
    found: Array = (1 - np.tanh(log_ratios / 2)) / 2
    return found


def forget_quality(ratios: Array, reference: Array) -> tuple[float, float]:
    """Return the two-sample Kolmogorov-Smirnov distance and its p value, or NaN where there are no items.

    With few items p has little power, so that a high p alone says nothing: read the distance beside it.
    """
    if not len(ratios) or np.isnan(ratios).any() or np.isnan(reference).any():
        return math.nan, math.nan
    found = ks_2samp(ratios, reference)
    return float(found.statistic), float(found.pvalue)


def read_truth_ratio(task: ProbeTask, forget: Records) -> list[Reading]:
    """Read the truth ratio of forgotten records, and its distance from the reference's where there is one.

    Records without wrong alternatives are left out and counted.
    """
    rows = list(forget.rows())
    kept = [row for row in rows if row.get("wrong")]
    persons = [person_of(row) for row in kept]
    ratios = log_ratios(task, task.model, kept, "scoring alternatives")
    detail = {"left_out": len(rows) - len(kept)}
    readings = [
        mean_reading(
            f"unlearning.truth-ratio/{name}",
            values,
            persons,
            seed=task.seed,
            unit=unit,
            effect=EFFECT,
            detail=detail,
        )
        for name, values, unit in (
            ("mean", closeness(ratios), "ratio"),
            ("prob_mean", share_of_truth(ratios), "probability"),
        )
    ]
    if task.reference is not None:
        reference = log_ratios(task, task.reference, kept, "scoring alternatives with the reference")
        readings += _compare(task, ratios, reference, persons)
    return readings


def log_ratios(task: ProbeTask, model: Any, rows: Sequence[Mapping[str, Any]], message: str) -> Array:
    """Return each record's log truth ratio under a model; every record needs a wrong answer."""
    pairs = [(row["prompt"], answer) for row in rows for answer in (row["answer"], *row["wrong"])]
    losses = iter([-mean_logp(score) for score in score_in_steps(task, model, pairs, message)])
    return np.array([log_truth_ratio(next(losses), [next(losses) for _ in row["wrong"]]) for row in rows])


def _compare(task: ProbeTask, ratios: Array, reference: Array, persons: Sequence[str]) -> list[Reading]:
    distance, p_value = forget_quality(ratios, reference)
    people = count_people(persons)
    both = np.stack([ratios, reference], axis=1)
    low, high = bootstrap_by_person(both, persons, ks_distance, seed=task.seed) or (0.0, 1.0)
    power = 0.0 if math.isnan(distance) else power_of_ks(people, DISTANCE)
    detail = {"records": len(ratios), "effect": DISTANCE}
    return [
        Reading("unlearning.truth-ratio/ks_p", p_value, None, None, people, "p value", power, detail),
        Reading("unlearning.truth-ratio/ks_d", distance, low, high, people, "KS distance", power, detail),
    ]
