"""Membership inference on forgotten people against people who were never trained on, two-sided.

An AUC of 1/2 is what a model gives that never saw the forgotten people; near 1 it still knows them,
near 0 it was pushed away from them, which betrays them as well. People differ in how easy their text
is, so each AUC is also read minus the same AUC on the reference, the model before any training on them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amends import ProbeTask, Reading, Records
from amends.operation.measuring import mean_logp, person_of, score_in_steps, spread_over_people
from amends.operation.power import power_of_auc, power_of_shift
from amends.operation.statistics import auc, count_people, percentiles, resample_auc_by_person

Array = NDArray[Any]
Statistic = Callable[[Array], Array]

SCORES = ("loss", "minkpp")
FRACTION = 0.4  # of the least likely tokens, as Min-K% uses it
LEAST_DEVIATION = 1e-6  # of log p in nats, where the model is certain of its next token
EFFECT = 0.2
LEAST_RETAINED = 32


@dataclass(frozen=True)
class Group:
    """Membership scores of some people's records: a column for each score, then the same under the reference."""

    persons: tuple[str, ...]
    scores: Array

    @property
    def people(self) -> int:
        """How many people there are."""
        return count_people(self.persons)


def min_k_plus_plus(score: Any, fraction: float = FRACTION) -> float:
    """Return Min-K%++ (Zhang et al., 2024): the mean of the lowest standardised log-probabilities.

    Each token's log p is centred and scaled by its mean and standard deviation under the model's own
    distribution at that position. The end of the sequence is left out unless it is all there is.
    Higher looks more like a member.
    """
    tokens = np.array([score.logp.tolist(), score.mean.tolist(), score.deviation.tolist()], dtype=float)
    logp, mean, deviation = tokens[:, :-1] if tokens.shape[1] > 1 else tokens
    standard = (logp - mean) / np.maximum(deviation, LEAST_DEVIATION)
    return float(np.sort(standard)[: max(1, int(fraction * len(standard)))].mean())


def membership_scores(score: Any) -> tuple[float, float]:
    """Return the scores named in `SCORES`; the loss is negated, so that higher looks more like a member."""
    return mean_logp(score), min_k_plus_plus(score)


def read_membership(task: ProbeTask, forget: Records, control: Records, retain: Records | None) -> list[Reading]:
    """Read the AUCs of forgotten against withheld people, their shift from the reference, and a positive control.

    - `auc_loss`, `auc_minkpp`: the chance that a forgotten record looks more like a member than a withheld one.
    - `auc_loss_minus_parent`, `auc_minkpp_minus_parent`: the same minus that chance on the reference.
    - `advantage`: the larger over both scores of |AUC - baseline|, where the baseline is the reference's
      AUC, or 1/2 where there is no reference. As a distance, its resampled interval leans upwards.
    - `auc_loss_of_retained`: the loss AUC of people who were kept; only where it lies well above 1/2
      could this measurement have seen a member at all.
    """
    withheld = _group(task, list(control.rows()), "withheld people")
    forgotten = _group(task, list(forget.rows()), "forgotten people")
    compared = Comparison(forgotten, withheld, task.seed)
    readings = [compared.read(f"auc_{score}", _area(column)) for column, score in enumerate(SCORES)]
    if task.reference is not None:
        for column, score in enumerate(SCORES):
            readings.append(compared.read(f"auc_{score}_minus_parent", _shift(column), bounds=(-1.0, 1.0)))
    readings.append(compared.read("advantage", _distance))
    if retain is not None:
        most = max(len(withheld.persons), len(forgotten.persons), LEAST_RETAINED)
        retained = _group(task, spread_over_people(retain.rows(), most), "retained people", with_reference=False)
        plain = Group(withheld.persons, withheld.scores[:, : len(SCORES)])
        readings.append(Comparison(retained, plain, task.seed).read("auc_loss_of_retained", _area(0)))
    return readings


def _group(task: ProbeTask, rows: Sequence[Mapping[str, Any]], whose: str, with_reference: bool = True) -> Group:
    pairs = [(row["prompt"], row["answer"]) for row in rows]
    columns = []
    for model, where in ((task.model, ""), (task.reference if with_reference else None, " with the reference")):
        if model is not None:
            scores = score_in_steps(task, model, pairs, f"scoring {whose}{where}")
            columns.append(np.array([membership_scores(score) for score in scores]).reshape(-1, len(SCORES)))
    return Group(tuple(person_of(row) for row in rows), np.concatenate(columns, axis=1))


def _area(column: int) -> Statistic:
    return lambda areas: areas[:, column]


def _shift(column: int) -> Statistic:
    return lambda areas: areas[:, column] - areas[:, column + len(SCORES)]


def _distance(areas: Array) -> Array:
    baseline = areas[:, len(SCORES) :] if areas.shape[1] > len(SCORES) else 0.5
    farthest: Array = np.abs(areas[:, : len(SCORES)] - baseline).max(axis=1)
    return farthest


class Comparison:
    """Two groups' AUCs, one column for each score, with what they are when people are drawn again."""

    def __init__(self, members: Group, others: Group, seed: int) -> None:
        self.members, self.others = members, others
        columns = zip(members.scores.T, others.scores.T, strict=True)
        self.areas = np.array([[auc(column, other) for column, other in columns]])
        self.drawn = resample_auc_by_person(members.scores, members.persons, others.scores, others.persons, seed)

    def read(self, name: str, statistic: Statistic, bounds: tuple[float, float] = (0.0, 1.0)) -> Reading:
        """Return a function of the AUCs as a reading; `n` is the smaller number of people, which limits the power.

        Fewer than two people on a side give the widest interval and power 0; an empty side, or a score
        that is not a number, gives NaN, which no policy allows. The power is the lower of what the numbers
        of people promise and what the spread of the resampled answers leaves.
        """
        interval, power = None, 0.0
        if self.drawn is not None:
            answers = statistic(self.drawn)
            interval = percentiles(answers)
            planned = power_of_auc(self.members.people, self.others.people, EFFECT)
            power = min(planned, power_of_shift(EFFECT, float(answers.std(ddof=1))))
        low, high = interval or bounds
        people = min(self.members.people, self.others.people)
        value = float(statistic(self.areas)[0])
        return Reading(f"unlearning.membership/{name}", value, low, high, people, "AUC", power, self._detail())

    def _detail(self) -> dict[str, Any]:
        return {
            "people": self.members.people,
            "records": len(self.members.persons),
            "control_people": self.others.people,
            "control_records": len(self.others.persons),
            "baseline": "reference" if self.areas.shape[1] > len(SCORES) else "one half",
            "effect": EFFECT,
        }
