"""What `rag.latency` reads: how long people wait for an answer, beside the reference."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amends import ProbeTask, Reading, Records
from amends.operation.measuring import spread_over_people
from amends.operation.statistics import bootstrap_by_person

Array = NDArray[Any]


def read_latency(task: ProbeTask, questions: Records, *, most: int, tokens: int) -> list[Reading]:
    """Read the median and the 95th percentile of an answer's seconds, tokens a second, and the ratio to the reference.

    Each question is asked alone after one that only warms up; intervals resample questions. The ratio is of tokens a
    second, so that an answer which is longer is not taken for a slower one.
    """
    prompts = [str(row["prompt"]) for row in spread_over_people(questions.rows(), most)]
    timed = _timed(task, task.model, prompts, tokens, "timing answers")
    readings = [
        _reading(task, "p50", timed[:, :1], lambda v, w: weighted_quantile(v[:, 0], w, 0.5), "seconds"),
        _reading(task, "p95", timed[:, :1], lambda v, w: weighted_quantile(v[:, 0], w, 0.95), "seconds"),
        _reading(task, "speed", timed, speed, "tokens per second"),
    ]
    if task.reference is not None:
        both = np.concatenate([timed, _timed(task, task.reference, prompts, tokens, "timing the reference")], axis=1)
        readings.append(_reading(task, "speed_ratio", both, speed_ratio, "ratio"))
    return readings


def _timed(task: ProbeTask, model: Any, prompts: Sequence[str], tokens: int, message: str) -> Array:
    """Return the seconds of each answer and its tokens, at least one, shape (questions, 2)."""
    model, found = replace(model, known=None), []  # an answer that is known takes no time
    for number, prompt in enumerate([*prompts[:1], *prompts]):
        task.progress(number, len(prompts) + 1, message)
        began = time.perf_counter()
        (answer,) = model.generate([prompt], max_new_tokens=tokens)
        seconds = time.perf_counter() - began
        said = len(model.tokenizer(answer, add_special_tokens=False)["input_ids"])
        found.append((seconds, max(min(said, tokens), 1)))
    return np.array(found[1:], dtype=float)


def speed(timed: Array, weights: Array) -> Array:
    """Return tokens a second under each row of weights; columns are seconds and tokens."""
    sums: Array = weights @ timed
    found: Array = sums[:, 1] / sums[:, 0]
    return found


def speed_ratio(both: Array, weights: Array) -> Array:
    """Return the speed of the first two columns over that of the last two."""
    return speed(both[:, :2], weights) / speed(both[:, 2:], weights)


def weighted_quantile(values: Array, weights: Array, share: float) -> Array:
    """Return the least value that a share of the weight lies at or below, for each row of weights."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[:, order], axis=1) >= share * weights.sum(axis=1, keepdims=True) - 1e-9
    found: Array = values[order][reached.argmax(axis=1)]
    return found


def _reading(task: ProbeTask, name: str, timed: Array, statistic: Any, unit: str) -> Reading:
    value = float(statistic(timed, np.ones((1, len(timed))))[0]) if len(timed) else float("nan")
    low, high = bootstrap_by_person(timed, range(len(timed)), statistic, seed=task.seed) or (None, None)
    return Reading(f"rag.latency/{name}", value, low, high, len(timed), unit)
