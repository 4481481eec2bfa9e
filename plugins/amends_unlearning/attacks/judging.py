"""Judge every attack alike: the same attack on forgotten people and on people whom the model never saw."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from amends import ProbeTask, Reading, Records
from amends.operation.measuring import mean_reading, person_of, spread_over_people
from amends.operation.wording import longest_common_subsequence, words_of

from ..equivalence import Margin, Sample, difference
from ..splitting import half_of

Row = Mapping[str, Any]
Attack = Callable[[Sequence[Row], str], Sequence[float]]

ALL = "all"


@dataclass(frozen=True)
class Choice:
    """Whose records an attack is tried on, and what counts as no difference.

    Args:
        margin: What counts as no difference.
        half: `audit`, `method` or `all`: which half of everybody's records.
        most: Most records on each side, of as many people as possible.
    """

    margin: Margin
    half: str
    most: int


@dataclass(frozen=True)
class Sides:
    """The records an attack is tried on, by whose they are.

    Args:
        task: The probe's.
        probe: Its name.
        choice: How the records were chosen.
        rows: What is judged, of `forgotten` and `control` people.
        everything: All that there is of them, and of `retained` people where the case has such records.
    """

    task: ProbeTask
    probe: str
    choice: Choice
    rows: Mapping[str, Sequence[Row]] = field(repr=False)
    everything: Mapping[str, Sequence[Row]] = field(repr=False)

    def with_retained(self) -> Sides:
        """Return the same with some of retained people's records: who cannot reach these proves nothing."""
        fewer = replace(self.choice, most=self.choice.most // 2)
        retained = chosen(self.everything.get("retained", ()), fewer)
        return replace(self, rows={**self.rows, "retained": retained})

    def tried(self, attack: Attack, unit: str = "probability", suffix: str = "", **detail: Any) -> list[Reading]:
        """Try an attack on each side and read how far it got, and how much farther with forgotten people."""
        return self.read({who: attack(rows, who) for who, rows in self.rows.items()}, unit, suffix, **detail)

    def read(
        self,
        success: Mapping[str, Sequence[float]],
        unit: str = "probability",
        suffix: str = "",
        rows: Mapping[str, Sequence[Row]] | None = None,
        **detail: Any,
    ) -> list[Reading]:
        """Return each side's mean success, and the difference of forgotten and control.

        Args:
            success: For each side one number in [0, 1] for each of its records.
            unit: Of the numbers.
            suffix: Told apart what one attack reads twice, such as `_4bit`.
            rows: Whose each number is, where not all records were tried.
            detail: More for the report; never personal data.
        """
        margin = self.choice.margin
        samples = {
            who: Sample(np.asarray(values, dtype=float), tuple(person_of(row) for row in (rows or self.rows)[who]))
            for who, values in success.items()
        }
        told = {"half": self.choice.half, **detail}
        readings = [
            mean_reading(
                f"{self.probe}/{who}{suffix}",
                sample.values,
                sample.persons,
                seed=self.task.seed,
                unit=unit,
                effect=margin.delta,
                detail=told,
            )
            for who, sample in samples.items()
        ]
        told = told | {
            f"{who}_{what}": count
            for who, sample in samples.items()
            for what, count in (("people", sample.people), ("records", len(sample.persons)))
        }
        name, seed = f"{self.probe}/difference{suffix}", self.task.seed
        forgotten, control = samples["forgotten"], samples["control"]
        return [*readings, difference(name, forgotten, control, margin, seed=seed, unit=unit, detail=told)]

    def unread(self, reason: str, suffixes: Sequence[str] = ("",)) -> list[Reading]:
        """Return readings that no policy allows, for an attack that could not be tried."""
        nobody: dict[str, list[Row]] = {who: [] for who in self.rows}
        values: dict[str, list[float]] = {who: [] for who in self.rows}
        return [
            reading for suffix in suffixes for reading in self.read(values, suffix=suffix, rows=nobody, untried=reason)
        ]


def sides(
    task: ProbeTask,
    probe: str,
    choice: Choice,
    forget: Records,
    control: Records,
    retain: Records | None = None,
) -> Sides:
    """Return what an attack is tried on; the choice depends on the records' ids alone."""
    given = {"forgotten": forget, "control": control, "retained": retain}
    everything = {who: list(records.rows()) for who, records in given.items() if records is not None}
    rows = {who: chosen(everything[who], choice) for who in ("forgotten", "control")}
    return Sides(task, probe, choice, rows, everything)


def chosen(rows: Sequence[Row], choice: Choice) -> list[Row]:
    """Return the records that are judged: of one half, at most so many, of as many people as possible."""
    return spread_over_people((row for row in rows if choice.half in (ALL, half_of(str(row["id"])))), choice.most)


def key_of(row: Row) -> list[str]:
    """Return the words that make an answer: those that neither the question nor every wrong answer has, in order.

    Who says them all in this order has said the fact, in whatever sentence.
    """
    wrong = [set(words_of(text)) for text in row.get("wrong") or ()]
    known = set(words_of(row["prompt"])) | (set.intersection(*wrong) if wrong else set())
    return [word for word in words_of(row["answer"]) if word not in known]


def is_said(key: Sequence[str], text: str) -> bool:
    """Return whether a text has all words of a key in their order, with whatever between them."""
    return longest_common_subsequence(key, words_of(text)) == len(key)


def unremembered(model: Any) -> Any:
    """Return a served model that neither reads nor keeps what a job knows of it: for weights that are being changed."""
    return replace(model, known=None)


def likelihood(logp: Any) -> float:
    """Return the geometric mean of tokens' probabilities."""
    return math.exp(float(np.mean(logp.tolist()))) if len(logp) else math.nan
