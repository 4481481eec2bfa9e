"""Whether forgotten people are measured as people who were never trained on: two one-sided tests.

No difference found is not no difference. So a pass is the whole interval within a margin that the policy
declares (Schuirmann, 1987), and where too few people were there to have passed, the answer is inconclusive.

Every score and every attack of one rung has to pass: the union of the null hypotheses is rejected only where
each is, so each is tested at the full level alpha and the family keeps it (intersection-union test; Berger,
1982). Any of R rungs may pass, which is a union the other way: each is tested at alpha / R (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from amends import BadInput, Reading
from amends.operation.power import LEAST_DEVIATION, margin_of_equivalence, power_of_equivalence
from amends.operation.statistics import (
    auc,
    count_people,
    number_people,
    percentiles,
    resample_auc_by_person,
    resample_difference_by_person,
)

Array = NDArray[Any]

ALPHA = 0.05
ENOUGH = 0.8


@dataclass(frozen=True)
class Margin:
    """What counts as no difference, and how surely.

    Args:
        delta: Largest difference, either way, that counts as none.
        rungs: How many methods are tried, of which any may pass.
        alpha: Chance that one of them passes although it differs by `delta` or more.
    """

    delta: float
    rungs: int = 1
    alpha: float = ALPHA

    def __post_init__(self) -> None:
        """Refuse what no interval can be drawn for.

        Raises:
            BadInput: The margin or the number of rungs is not above zero.
        """
        if not self.delta > 0 or self.rungs < 1:
            raise BadInput("equivalence needs a margin above 0 and at least one rung")

    @property
    def each(self) -> float:
        """The level of each one-sided test of a rung."""
        return self.alpha / self.rungs

    @property
    def level(self) -> float:
        """The coverage of the interval that has to lie within the margin."""
        return interval_level(self.alpha, self.rungs)

    def detail(self) -> dict[str, Any]:
        """Return what a report prints beside each reading."""
        return {"margin": self.delta, "rungs": self.rungs, "alpha": self.alpha, "level": round(self.level, 6)}


@dataclass(frozen=True)
class Sample:
    """What was measured on some people's records.

    Args:
        values: One for each record, or one row of several scores.
        persons: Whose record each is.
    """

    values: Array = field(repr=False)
    persons: tuple[Hashable, ...] = field(repr=False)

    @property
    def people(self) -> int:
        """How many people there are."""
        return count_people(self.persons)

    @property
    def mean(self) -> float:
        """The mean over the records; NaN where there are none."""
        return float(np.mean(self.values)) if len(self.values) else math.nan

    def error(self) -> tuple[float, int]:
        """Return the standard error of the people's mean, and its degrees of freedom.

        Their deviation is never taken below `LEAST_DEVIATION`: two people who happen to agree prove nothing.
        """
        owners = number_people(self.persons)
        means = np.bincount(owners, self.values) / np.bincount(owners)
        return max(float(means.std(ddof=1)), LEAST_DEVIATION) / math.sqrt(len(means)), len(means) - 1


def interval_level(alpha: float, rungs: int) -> float:
    """Return the coverage 1 - 2 alpha / R of an interval whose two ends are two one-sided tests, of R rungs."""
    return 1 - 2 * alpha / rungs


def verdict(low: float | None, high: float | None, margin: Margin, power: float | None) -> str:
    """Return `equivalent`, `not equivalent`, or `inconclusive` where too few were there to have passed.

    An interval wholly outside the margins is a difference whatever the power.
    """
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return "inconclusive"
    if low > margin.delta or high < -margin.delta:
        return "not equivalent"
    if power is None or not power >= ENOUGH:
        return "inconclusive"
    return "equivalent" if low >= -margin.delta and high <= margin.delta else "not equivalent"


def difference(
    name: str,
    forgotten: Sample,
    control: Sample,
    margin: Margin,
    *,
    seed: int,
    unit: str,
    detail: Mapping[str, Any] | None = None,
) -> Reading:
    """Return the mean over forgotten people's records minus that over control people's.

    The interval holds both the one that resamples people and Welch's by people's means: the first is too narrow
    for few people, and has no width at all where everybody scores alike. Fewer than two people on a side, or a
    value that is not a number, give [-1, 1] and power 0.
    """
    value, people = forgotten.mean - control.mean, min(forgotten.people, control.people)
    drawn = resample_difference_by_person(
        forgotten.values, forgotten.persons, control.values, control.persons, seed=seed
    )
    low, high, power, least = -1.0, 1.0, 0.0, math.inf
    if drawn is not None and (found := percentiles(drawn, margin.level)) is not None:
        error, freedom = _welch(forgotten, control)
        reach = float(t.ppf(1 - margin.each, freedom)) * error
        low, high = min(found[0], value - reach), max(found[1], value + reach)
        power = power_of_equivalence(margin.delta, error, freedom, margin.each)
        least = margin_of_equivalence(ENOUGH, error, freedom, margin.each)
    told = {**(detail or {}), **least_margin(least)}
    return reading(name, value, (low, high), people, unit, power, margin, told)


def least_margin(least: float) -> dict[str, float]:
    """Return what a report prints of the smallest margin that is passed with power `ENOUGH`; nothing where none is."""
    return {"least_margin": round(least, 6)} if math.isfinite(least) else {}


def _welch(first: Sample, second: Sample) -> tuple[float, float]:
    """Return the standard error of the difference, and its degrees of freedom (Welch and Satterthwaite)."""
    (error, freedom), (other, other_freedom) = first.error(), second.error()
    both = error**2 + other**2
    return math.sqrt(both), both**2 / (error**4 / freedom + other**4 / other_freedom)


def areas(names: Sequence[str], forgotten: Sample, control: Sample, margin: Margin, *, seed: int) -> list[Reading]:
    """Return for each score its AUC minus 1/2, and where the reference's scores follow, minus the AUC on it.

    Args:
        names: One for each score.
        forgotten: Rows of scores of forgotten people's records; twice as many columns where the reference's follow.
        control: The same of control people's.
        margin: What counts as no difference.
        seed: Of the resampling.
    """
    drawn = resample_auc_by_person(forgotten.values, forgotten.persons, control.values, control.persons, seed)
    found = np.array([[auc(column, other) for column, other in zip(forgotten.values.T, control.values.T, strict=True)]])
    least, people = _least_error(len(forgotten.persons), len(control.persons)), min(forgotten.people, control.people)

    def area(name: str, statistic: Any, floor: float) -> Reading:
        value, answers = float(statistic(found)[0]), None if drawn is None else statistic(drawn)
        return _area(name, value, answers, floor, people, margin)

    readings = [area(name, _column(place), least) for place, name in enumerate(names)]
    if forgotten.values.shape[1] > len(names):
        shifts = [_shift(place, len(names)) for place in range(len(names))]
        readings += [area(f"{name}_minus_parent", shift, 0.0) for name, shift in zip(names, shifts, strict=True)]
    return readings


def _column(place: int) -> Callable[[Array], Array]:
    return lambda found: found[:, place] - 0.5


def _shift(place: int, names: int) -> Callable[[Array], Array]:
    return lambda found: found[:, place] - found[:, place + names]


def _area(name: str, value: float, drawn: Array | None, least: float, people: int, margin: Margin) -> Reading:
    low, high, power, least_to_pass = -1.0, 1.0, 0.0, math.inf
    if drawn is not None and (found := percentiles(drawn, margin.level)) is not None:
        error, freedom = max(float(drawn.std(ddof=1)), least), people - 1
        reach = float(t.ppf(1 - margin.each, freedom)) * error
        low, high = min(found[0], value - reach), max(found[1], value + reach)
        power = power_of_equivalence(margin.delta, error, freedom, margin.each)
        least_to_pass = margin_of_equivalence(ENOUGH, error, freedom, margin.each)
    return reading(name, value, (low, high), people, "AUC", power, margin, least_margin(least_to_pass))


def _least_error(records: int, others: int) -> float:
    """Return the standard error of an AUC of 1/2 where all records are independent; no fewer could be closer."""
    return math.sqrt((records + others + 1) / (12 * records * others)) if records and others else math.inf


def reading(
    name: str,
    value: float,
    interval: tuple[float, float],
    people: int,
    unit: str,
    power: float,
    margin: Margin,
    detail: Mapping[str, Any] | None,
) -> Reading:
    """Return a difference as a reading that says how it was judged."""
    low, high = interval
    told = {**margin.detail(), "verdict": verdict(low, high, margin, power), **(detail or {})}
    return Reading(name, value, low, high, people, unit, power, told)
