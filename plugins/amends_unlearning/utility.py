"""Model utility of what is kept (Maini et al., 2024): one number that any of three measures pulls down.

TOFU takes the harmonic mean of three measures on each of three sets: what is kept, real authors, the world.
No workspace has the latter two; here it is of what is kept, and ordinary text is `utility.perplexity`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amends import ProbeTask, Reading, Records
from amends.operation.measuring import (
    UNIT_INTERVAL,
    answer_in_steps,
    mean_logp,
    mean_reading,
    person_of,
    score_in_steps,
    spread_over_people,
)
from amends.operation.statistics import bootstrap_by_person, harmonic_mean
from amends.operation.wording import rouge_l

from .truth_ratio import log_ratios

Array = NDArray[Any]

PROBE = "unlearning.utility"
UNITS = {"probability": "probability", "rouge_l": "share of words", "truth": "ratio"}
EFFECT = 0.1  # a fall of a mean


def preference(log_ratios: Array) -> Array:
    """Return max(0, 1 - TR): 1 where the truth is all that is likely, 0 where wrong answers are as likely."""
    found: Array = -np.expm1(np.minimum(log_ratios, 0.0))
    return found


def harmonic(values: Array, weights: Array) -> Array:
    """Return the harmonic mean of weighted means; 0 where one of them is.

    Args:
        values: One measure a column, shape (records, measures).
        weights: Shape (resamples, records).
    """
    return harmonic_mean(weights @ values / weights.sum(axis=1, keepdims=True))


def read_utility(task: ProbeTask, retain: Records, most: int) -> list[Reading]:
    """Read probability, ROUGE-L recall and preference for the truth on the same kept records, and `harmonic` of these.

    At most `most` records that have wrong answers, of as many people as possible; the others are counted.
    """
    rows = list(retain.rows())
    doubted = [row for row in rows if row.get("wrong")]
    kept = spread_over_people(doubted, most)
    persons, detail = [person_of(row) for row in kept], {"left_out": len(rows) - len(doubted)}
    scores = score_in_steps(task, task.model, [(row["prompt"], row["answer"]) for row in kept], "scoring kept answers")
    said = answer_in_steps(task, task.model, [row["prompt"] for row in kept], "answering about kept people")
    measured: dict[str, Sequence[float] | Array] = {
        "probability": [math.exp(mean_logp(score)) for score in scores],
        "rouge_l": [rouge_l(row["answer"], text).recall for row, text in zip(kept, said, strict=True)],
        "truth": preference(log_ratios(task, task.model, kept, "scoring alternatives to kept answers")),
    }
    readings = [
        mean_reading(f"{PROBE}/{name}", values, persons, seed=task.seed, unit=UNITS[name], effect=EFFECT, detail=detail)
        for name, values in measured.items()
    ]
    columns = np.stack([np.asarray(values, dtype=float) for values in measured.values()], axis=1)
    value = float(harmonic(columns, np.ones((1, len(kept))))[0]) if kept else math.nan
    low, high = bootstrap_by_person(columns, persons, harmonic, seed=task.seed) or UNIT_INTERVAL
    people, power = readings[0].n, min(reading.power or 0.0 for reading in readings)
    whole = Reading(f"{PROBE}/harmonic", value, low, high, people, "harmonic mean", power, {"effect": EFFECT, **detail})
    return [*readings, whole]
