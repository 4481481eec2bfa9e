"""What the probes of editing share: edits as they are asked about, questions in steps, and readings by person."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from amends import ProbeTask, Reading, Records
from amends.operation.measuring import STEP, person_of
from amends.operation.power import power_of_mean
from amends.operation.statistics import bootstrap_by_person, count_people, number_people
from amends_editing.facts import Fact

Array = NDArray[Any]
One = TypeVar("One")

SHARE = "share of questions"
WORD = re.compile(r"\w+")
ARTICLES = ("a", "an", "the")


@dataclass(frozen=True, repr=False)
class Edit:
    """One edit as a probe asks about it.

    Args:
        fact: What was edited.
        person: Whose record it is, for resampling.
        unknown: The same prompt about comparable subjects that nobody knows, for an erasure.
        references: Texts about the target, for consistency.
    """

    fact: Fact
    person: str
    unknown: tuple[str, ...] = ()
    references: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class Item:
    """One question about one edit.

    Args:
        owner: The edit's place in its list.
        prompt: The beginning of a sentence.
        answer: What should follow.
        other: What should not.
        is_gone: Whether it is right that the answer does not come first.
    """

    owner: int
    prompt: str
    answer: str
    other: str = ""
    is_gone: bool = False


def edit_of(row: Mapping[str, Any]) -> Edit:
    """Read one prepared row."""
    more = (tuple(map(str, row.get(name) or ())) for name in ("unknown", "references"))
    return Edit(Fact.from_row(row), person_of(row), *more)


def read_edits(edits: Records) -> list[Edit]:
    """Read every edit, in file order."""
    return [edit_of(row) for row in edits.rows()]


def persons_of(edits: Sequence[Edit]) -> list[str]:
    """Return whose record each edit is."""
    return [edit.person for edit in edits]


def in_steps(
    task: ProbeTask, ask: Callable[[Sequence[Any]], Sequence[One]], asked: Sequence[Any], message: str
) -> list[One]:
    """Ask in small steps, so that progress shows and cancelling works."""
    found: list[One] = []
    for start in range(0, len(asked), STEP):
        task.progress(start, len(asked), message)
        found += ask(asked[start : start + STEP])
    task.progress(len(asked), len(asked), message)
    return found


def score_items(task: ProbeTask, pairs: Sequence[tuple[str, str]], message: str) -> list[Any]:
    """Score `(text, answer)` pairs as they stand, without the template."""
    return in_steps(task, task.model.score_continuations, pairs, message)


def complete(task: ProbeTask, prompts: Sequence[str], tokens: int, message: str) -> list[str]:
    """Continue each prompt greedily by at most so many tokens."""
    return in_steps(task, lambda some: task.model.complete(some, max_new_tokens=tokens), prompts, message)


def per_edit(edits: int, owners: Sequence[int], answers: Sequence[float]) -> Array:
    """Return each edit's mean over its questions, NaN where it has none, so that no edit counts for more by asking."""
    places = np.asarray(owners, dtype=int)
    counts = np.bincount(places, minlength=edits)
    sums = np.bincount(places, np.asarray(answers, dtype=float), minlength=edits)
    means: Array = np.divide(sums, counts, out=np.full(edits, math.nan), where=counts > 0)
    return means


def words_of(text: str) -> list[str]:
    """Return a text's words as they are compared: without case, punctuation, compatibility forms or a first article."""
    words = WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    return words[1:] if words[:1] and words[0] in ARTICLES and len(words) > 1 else words


def begins_with(said: str, answer: str) -> bool:
    """Whether a text begins with the answer, word by word; an answer without words never comes."""
    wanted = words_of(answer)
    return bool(wanted) and words_of(said)[: len(wanted)] == wanted


def contains(said: str, answer: str) -> bool:
    """Whether an answer stands anywhere in a text, even inside a word: for a leak the cautious side."""
    wanted = " ".join(words_of(answer))
    return bool(wanted) and wanted in " ".join(words_of(said))


def free_reading(
    name: str,
    values: Sequence[float] | Array,
    persons: Sequence[str],
    *,
    seed: int,
    unit: str,
    effect: float | None = None,
    detail: Mapping[str, Any] | None = None,
) -> Reading:
    """Return the mean of values that know no bounds; fewer than two people give no interval, and no record NaN.

    Args:
        name: The reading's name.
        values: One for each record.
        persons: Whose record each is.
        seed: Of the resampling.
        unit: Unit of the values.
        effect: The distance from zero, either way, whose power is stated; none is stated without it.
        detail: More for the report; never personal data.
    """
    found = np.asarray(values, dtype=float)
    low, high = bootstrap_by_person(found, persons, seed=seed) or (None, None)
    power = None if effect is None else two_sided_power(found, persons, effect)
    extras = {"records": len(found), **({} if effect is None else {"effect": effect}), **(detail or {})}
    value = float(found.mean()) if len(found) else math.nan
    return Reading(name, value, low, high, count_people(persons), unit, power, extras)


def two_sided_power(values: Array, persons: Sequence[str], effect: float) -> float:
    """Return the power of the two-sided 5 % t test of people's means: one side of it, at 2.5 %."""
    owners, people = number_people(persons), count_people(persons)
    if people < 2:
        return 0.0
    means = np.bincount(owners, values) / np.bincount(owners)
    return power_of_mean(people, effect, float(np.std(means, ddof=1)), alpha=0.025)
