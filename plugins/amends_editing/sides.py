"""Read an edit from three sides: does it hold, in other words too, and are others left alone (CounterFact; ROME)?

- efficacy: the edit's own prompt;
- paraphrase: the same question in other words;
- neighbourhood: questions about others, whose answers should not have changed;
- score: the harmonic mean of the three, which one bad side pulls down.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from amends import ProbeTask, Reading
from amends.operation.measuring import UNIT_INTERVAL, mean_reading
from amends.operation.statistics import bootstrap_by_person, harmonic_mean
from amends_editing.asking import SHARE, Array, Edit, Item, per_edit, persons_of

EFFECT = 0.1  # a fall of the share

Judge = Callable[[Sequence[Item]], Sequence[float]]
Sides = Mapping[str, Sequence[Item]]


def sides_of(edits: Sequence[Edit]) -> dict[str, list[Item]]:
    """Return what is asked on each side; a question without an answer is left out."""
    found: dict[str, list[Item]] = {"efficacy": [], "paraphrase": [], "neighbourhood": []}
    for owner, edit in enumerate(edits):
        fact = edit.fact
        found["efficacy"].append(Item(owner, fact.prompt, fact.target, fact.old))
        found["paraphrase"] += [Item(owner, text, fact.target, fact.old) for text in fact.rephrases]
        found["neighbourhood"] += [Item(owner, near.prompt, near.answer, fact.target) for near in fact.neighbours]
    return {side: [item for item in items if item.answer.strip()] for side, items in found.items()}


def read_sides(task: ProbeTask, probe: str, edits: Sequence[Edit], sides: Sides, judge: Judge) -> list[Reading]:
    """Read the mean share of right answers on each side, and the score.

    Each edit's share is the mean over its questions of that side; an edit without any is left out and counted.

    Args:
        task: The run.
        probe: Its name.
        edits: All edits.
        sides: What is asked.
        judge: Says of each question whether it came out right, as 0 or 1.
    """
    asked = [item for items in sides.values() for item in items]
    answers = iter(judge(asked))
    shares = {
        side: per_edit(len(edits), [item.owner for item in items], [next(answers) for _ in items])
        for side, items in sides.items()
    }
    readings = [read_share(task, f"{probe}/{side}", edits, values) for side, values in shares.items()]
    return [*readings, _score(task, f"{probe}/score", edits, np.stack(list(shares.values()), axis=1), readings)]


def read_share(task: ProbeTask, name: str, edits: Sequence[Edit], values: Array) -> Reading:
    """Return the mean of those edits' shares that are known."""
    known = ~np.isnan(values)
    persons = [person for person, is_known in zip(persons_of(edits), known, strict=True) if is_known]
    detail = {"left_out": int((~known).sum())}
    return mean_reading(name, values[known], persons, seed=task.seed, unit=SHARE, effect=EFFECT, detail=detail)


def score(values: Array, weights: Array) -> Array:
    """Return the harmonic mean of three weighted means; 0 where one of them is.

    Args:
        values: The shares and then whether each is known, 0 where not, shape (edits, 6).
        weights: Shape (resamples, edits).
    """
    sums = weights @ values
    with np.errstate(invalid="ignore"):
        means = sums[:, :3] / sums[:, 3:]
    return harmonic_mean(means)


def _score(task: ProbeTask, name: str, edits: Sequence[Edit], shares: Array, sides: Sequence[Reading]) -> Reading:
    """Return the score; its `n` and its power are those of the worst side."""
    known = ~np.isnan(shares)
    values = np.concatenate([np.where(known, shares, 0.0), known], axis=1)
    value = float(score(values, np.ones((1, len(edits))))[0]) if len(edits) else math.nan
    low, high = bootstrap_by_person(values, persons_of(edits), score, seed=task.seed) or UNIT_INTERVAL
    power = min(side.power or 0.0 for side in sides)
    return Reading(name, value, low, high, min(side.n for side in sides), "harmonic mean", power, {"effect": EFFECT})
