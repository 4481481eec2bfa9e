"""Try the audit itself: does it notice people who are in the model, and whom else does it take for one of them?

Canaries are fictitious people whom training planted in this very model; their sisters come from the same generator and
were never trained on. Each is audited alone, by the audit's own scores, against sisters who set the threshold; the
other sisters show how often that is a false alarm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amends import BadInput, ProbeTask, Reading
from amends.operation.measuring import extraction_strength, mean_logp, person_of, score_in_steps
from amends.operation.statistics import clopper_pearson, count_people, number_people

from .canaries import sister_rows
from .membership import BESIDE, min_k_plus_plus
from .plan import Row
from .planted import planted_in

Array = NDArray[Any]

PROBE = "unlearning.drill"
SCORES = ("loss", "minkpp", "strength")
TOLERANCE = 1e-9  # of a share of people
NOBODY = "the training planted no canaries"
NO_NUMBER = "a score is no finite number"


def p_values(tested: Array, never: Array) -> Array:
    """Return for each person how likely somebody who was never trained on looks as much like a member.

    A person is as suspicious as the best of their ranks over the scores, among the never-seen and themselves. Where
    the person is one of those, all orders are equally likely, so that P(p <= a) <= a (Vovk et al., 2005), however many
    scores there are.

    Args:
        tested: Shape (people, scores); higher looks more like a member.
        never: The same of people who were never trained on, shape (others, scores).

    Returns:
        Shape (people,).
    """
    found = []
    for person in tested:
        everybody = np.concatenate([never, person[None]])
        ranks = (everybody[:, None] > everybody[None]).sum(axis=1).max(axis=1)
        found.append((ranks >= ranks[-1]).mean())
    return np.array(found, dtype=float)


def goes_off(tested: Array, never: Array, rate: float) -> NDArray[np.bool_]:
    """Return for each person whether an alarm goes off that puts up with this share of false ones."""
    found: NDArray[np.bool_] = p_values(tested, never) <= rate + TOLERANCE
    return found


@dataclass(frozen=True)
class Drill:
    """Scores of everybody whom the audit is tried on, one row for each person.

    Args:
        rate: The share of false alarms that is put up with.
        known: The never-seen who set the threshold.
        never: Those who show how often that is a false alarm.
        left: The canaries who are in the model.
        erased: Those who went with its last erasure.
    """

    rate: float
    known: Array = field(repr=False)
    never: Array = field(repr=False)
    left: Array = field(repr=False)
    erased: Array = field(repr=False)

    @property
    def scores(self) -> tuple[str, ...]:
        """The names of the columns."""
        return (*SCORES, BESIDE)[: self.known.shape[1]]

    @property
    def people(self) -> int:
        """How many people the audit is tried on."""
        return len(self.never) + len(self.left) + len(self.erased)

    @property
    def is_whole(self) -> bool:
        """Whether every score is a number."""
        return all(bool(np.isfinite(some).all()) for some in (self.known, self.never, self.left, self.erased))

    def heard(self) -> dict[str, NDArray[np.bool_]]:
        """Return about whom the alarm goes off, by the name of the reading."""
        columns: dict[str, slice] = {"": slice(None)}
        columns |= {f"_{name}": slice(at, at + 1) for at, name in enumerate(self.scores)}
        found = {
            f"{kind}{name}": goes_off(people[:, some], self.known[:, some], self.rate)
            for kind, people in (("detected", self.left), ("false_alarm", self.never))
            for name, some in columns.items()
        }
        if len(self.erased):
            found["erased"] = goes_off(self.erased, self.known, self.rate)
            found["avoided"] = goes_off(-self.erased, -self.known, self.rate)
        return found

    def readings(self) -> list[Reading]:
        """Return the shares of people about whom the alarm goes off, and the ends of the intervals that accuse."""
        shares = [self._share(name, alarms) for name, alarms in self.heard().items()]
        ends = {"detected_at_most": ("detected", "high", 1.0), "erased_at_least": ("erased", "low", 0.0)}
        found = {reading.name: reading for reading in shares}
        for name, (of, end, none) in ends.items():
            reading = found.get(f"{PROBE}/{of}")
            value = float(getattr(reading, end)) if reading is not None else none
            shares.append(self._reading(name, value if self.is_whole else math.nan, None, None, self.people))
        return shares

    def _share(self, name: str, alarms: NDArray[np.bool_]) -> Reading:
        people = len(alarms)
        low, high = clopper_pearson(int(alarms.sum()), people) if self.is_whole else (0.0, 1.0)
        return self._reading(name, float(alarms.mean()) if people and self.is_whole else math.nan, low, high, people)

    def _reading(self, name: str, value: float, low: float | None, high: float | None, people: int) -> Reading:
        detail = {"alarm": self.rate, "threshold_people": len(self.known), "scores": list(self.scores)}
        if math.isnan(value):
            detail["reason"] = NOBODY if self.is_whole else NO_NUMBER
        return Reading(f"{PROBE}/{name}", value, low, high, people, "share of people", None, detail)


def read_drill(task: ProbeTask, alarm: float, sisters: int) -> list[Reading]:
    """Read how often the alarm goes off about people of each kind.

    - `detected`, `detected_…` by each score alone: the canaries who are in the model.
    - `false_alarm`, `false_alarm_…`: sisters who had no part in the threshold.
    - `erased`: canaries who went with the last approximate erasure, and `avoided`: those of them who look less like
      members than the never-seen do; left out where none went.
    - `detected_at_most`, `erased_at_least`: the ends of those intervals that accuse the audit or the erasure; 1 and 0
      where there was nobody to try it on. `n` is everybody who was tried, so that a rule may read them.

    Raises:
        BadInput: So few sisters cannot give so low a rate.
    """
    if not 0 < alarm < 1:
        raise BadInput(f"alarm is {alarm:g}; give the drill a share of false alarms between 0 and 1")
    if alarm * (sisters // 2 + 1) < 1 - TOLERANCE:
        fewest = 2 * math.ceil(1 / alarm - 1 - TOLERANCE)
        raise BadInput(f"alarm {alarm:g} takes at least {fewest} sisters; the drill has {sisters}, so give it more")
    planted = planted_in(task.model_path)
    never = _profiles(task, sister_rows(planted.salt, sisters, planted.names), "people who were never trained on")
    left = _profiles(task, planted.left, "planted people")
    erased = _profiles(task, planted.erased, "planted people who were erased")
    return Drill(alarm, never[: sisters // 2], never[sisters // 2 :], left, erased).readings()


def _profiles(task: ProbeTask, rows: Sequence[Row], whose: str) -> Array:
    """Return each person's means of the scores, shape (people, scores); the last is the loss less the reference's."""
    pairs = [(row["prompt"], row["answer"]) for row in rows]
    scores = score_in_steps(task, task.model, pairs, f"scoring {whose}")
    columns = [
        [mean_logp(score) for score in scores],
        [min_k_plus_plus(score) for score in scores],
        [extraction_strength(score.correct.tolist()[:-1]) for score in scores],
    ]
    if task.reference is not None:
        before = score_in_steps(task, task.reference, pairs, f"scoring {whose} with the reference")
        columns.append([own - mean_logp(score) for own, score in zip(columns[0], before, strict=True)])
    persons = [person_of(row) for row in rows]
    owners, values = number_people(persons), np.array(columns, dtype=float)
    people = count_people(persons)
    return np.stack([np.bincount(owners, column, people) for column in values], axis=1) / np.bincount(owners)[:, None]
