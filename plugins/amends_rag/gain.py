"""What `rag.perplexity` reads: how much better a grounded version foretells text that it was not made from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amends import BadRecords, ProbeTask, Reading, Records
from amends.operation.measuring import person_of, spread_over_people
from amends.operation.power import power_of_mean
from amends.operation.statistics import bootstrap_by_person, perplexity, perplexity_ratio

FALL = 0.95  # of the ratio to the reference
AT_ONCE = 4

Array = NDArray[Any]


def split_text(row: Mapping[str, Any], given: int, words: int) -> tuple[str, str] | None:
    """Return the beginning of a passage and what follows it, or None where nothing does."""
    found = str(row.get("text") or row.get("prompt") or "").split()
    given = min(given, len(found) // 2)
    return (" ".join(found[:given]), " ".join(found[given : given + words])) if given else None


def read_gain(task: ProbeTask, text: Records, *, most: int, given: int, words: int) -> list[Reading]:
    """Read exp of the mean loss a token of what follows the passages' beginnings, and its ratio to the reference's.

    Both intervals resample passages, or people where the passages are about some.

    Raises:
        BadRecords: No passage has two words.
    """
    rows = spread_over_people(text.rows(), most)
    pairs = [(row, split_text(row, given, words)) for row in rows]
    split = [(row, pair) for row, pair in pairs if pair is not None]
    if not split:
        raise BadRecords("no passage of the text has two words; give running text")
    people, asked = [person_of(row) for row, _ in split], [pair for _, pair in split]
    measured = _losses(task, task.model, asked, "reading text")
    readings = [_reading(task, "perplexity", measured, people, perplexity, "perplexity")]
    if task.reference is not None:
        both = np.concatenate([measured, _losses(task, task.reference, asked, "reading with the reference")], axis=1)
        shifts = both[:, 0] / both[:, 1] - both[:, 2] / both[:, 3]
        spread = float(np.std(shifts, ddof=1)) if len(shifts) > 1 else math.nan
        power = power_of_mean(len(set(people)), -math.log(FALL), spread)
        readings.append(_reading(task, "ratio", both, people, perplexity_ratio, "ratio", power, {"effect": FALL}))
    return readings


def _losses(task: ProbeTask, model: Any, pairs: Sequence[tuple[str, str]], message: str) -> Array:
    """Return for each passage its summed loss in nats and its number of tokens, shape (passages, 2)."""
    found = []
    for start in range(0, len(pairs), AT_ONCE):
        task.progress(start, len(pairs), message)
        for score in model.score_continuations(pairs[start : start + AT_ONCE]):
            logp = score.logp.tolist()
            found.append((-math.fsum(logp), len(logp)))
    task.progress(len(pairs), len(pairs), message)
    return np.array(found, dtype=float)


def _reading(
    task: ProbeTask,
    name: str,
    losses: Array,
    people: Sequence[str],
    statistic: Any,
    unit: str,
    power: float | None = None,
    detail: Mapping[str, Any] | None = None,
) -> Reading:
    value = float(statistic(losses, np.ones((1, len(losses))))[0])
    low, high = bootstrap_by_person(losses, people, statistic, seed=task.seed) or (None, None)
    extras = {"tokens": int(losses[:, 1].sum()), **(detail or {})}
    return Reading(f"rag.perplexity/{name}", value, low, high, len(set(people)), unit, power, extras)
