"""What most probes do: take records of many people, score them in steps, and read a mean."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from amends.operation.power import power_of_mean
from amends.operation.statistics import bootstrap_by_person, count_people, number_people
from amends.operation.task import ProbeTask
from amends.records import Reading

if TYPE_CHECKING:
    from amends.operation.statistics import Array

STEP = 16
ANSWERED = 4  # at once: an answer takes as long as many scores
UNIT_INTERVAL = (0.0, 1.0)


def person_of(row: Mapping[str, Any]) -> str:
    """Return the pseudonym of the first person a record is about, or the record's id if it names nobody."""
    subjects = row.get("subjects") or [row["id"]]
    return str(subjects[0])


def spread_over_people(rows: Iterable[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    """Choose at most `most` records from as many people as possible, in turn.

    The choice depends on the records' ids alone, so that parent and candidate are asked the same.
    """
    piles: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: str(row["id"])):
        piles[person_of(row)].append(row)
    deepest = max(map(len, piles.values()), default=0)
    turns = [pile[turn] for turn in range(deepest) for pile in piles.values() if turn < len(pile)]
    return turns[: max(most, 0)]


def score_in_steps(task: ProbeTask, model: Any, pairs: Sequence[tuple[str, str]], message: str) -> list[Any]:
    """Score `(prompt, answer)` pairs in small steps, so that progress shows and cancelling works."""
    scores: list[Any] = []
    for start in range(0, len(pairs), STEP):
        task.progress(start, len(pairs), message)
        scores += model.score(pairs[start : start + STEP])
    task.progress(len(pairs), len(pairs), message)
    return scores


def answer_in_steps(task: ProbeTask, model: Any, prompts: Sequence[str], message: str) -> list[str]:
    """Let a model answer prompts in small steps, so that progress shows and cancelling works."""
    answers: list[str] = []
    for start in range(0, len(prompts), ANSWERED):
        task.progress(start, len(prompts), message)
        answers += model.generate(prompts[start : start + ANSWERED])
    task.progress(len(prompts), len(prompts), message)
    return answers


def mean_logp(score: Any) -> float:
    """Return the mean log-probability, in nats, of an answer's tokens, the end of the sequence included."""
    import numpy as np

    return float(np.mean(score.logp.tolist()))


def extraction_strength(correct: Sequence[bool]) -> float:
    """Return 1 - k/n, where k is the shortest prefix after which every next token is the model's first choice.

    After Carlini et al. (2021) as Maini et al. (2024) use it, teacher-forced. Where not even the last
    token is right, k = n and the strength is 0: stopping at k = n - 1 would grant 1/n to a model that
    knows nothing, and 1 to any answer of one token.

    Args:
        correct: Whether each of the n answer tokens is the most likely one; the end of the sequence left out.
    """
    suffix = 0
    for is_first_choice in reversed(correct):
        if not is_first_choice:
            break
        suffix += 1
    return suffix / len(correct)


def mean_reading(
    name: str,
    values: Sequence[float] | Array,
    persons: Sequence[Hashable],
    *,
    seed: int,
    unit: str,
    effect: float,
    detail: Mapping[str, Any] | None = None,
) -> Reading:
    """Return the mean of values in [0, 1] as a reading, its interval resampled by person.

    Fewer than two people give the interval [0, 1] and power 0; no record at all gives NaN, which no policy allows.

    Args:
        name: The reading's name.
        values: One for each record.
        persons: Whose record each is.
        seed: Of the resampling.
        unit: Unit of the values.
        effect: The difference of the mean whose one-sided power is stated.
        detail: More for the report; never personal data.
    """
    import numpy as np

    found = np.asarray(values, dtype=float)
    people = count_people(persons)
    low, high = bootstrap_by_person(found, persons, seed=seed) or UNIT_INTERVAL
    owners = number_people(persons)
    means = np.bincount(owners, found) / np.bincount(owners) if people else found
    power = power_of_mean(people, effect, float(np.std(means, ddof=1)) if people > 1 else math.nan)
    value = float(found.mean()) if len(found) else math.nan
    extras = {"records": len(found), "effect": effect, **(detail or {})}
    return Reading(name, value, low, high, people, unit, power, extras)
