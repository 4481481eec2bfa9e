"""What `rag.latency` reads: how long people wait for an answer, beside the reference."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amends import ProbeTask, Reading, Records
from amends.operation.measuring import spread_over_people
from amends.operation.statistics import bootstrap_by_person
from amends_rag.citing import without_citations

Array = NDArray[Any]


def read_latency(task: ProbeTask, questions: Records, *, most: int, tokens: int) -> list[Reading]:
    """Read the median and the 95th percentile of an answer's seconds, tokens a second, and the ratio to the reference.

    Each question is asked alone after one that only warms up; intervals resample questions. The ratio is of tokens a
    second, so that an answer which is longer is not taken for a slower one.
    """
    prompts = [str(row["prompt"]) for row in spread_over_people(questions.rows(), most)]

    def waited(model: Any, message: str) -> Array:
        return timed(model, prompts, tokens, lambda done: task.progress(done, len(prompts) + 1, message))[:, [0, 2]]

    found = waited(task.model, "timing answers")
    readings = [
        _reading(task, "p50", found[:, :1], lambda v, w: weighted_quantile(v[:, 0], w, 0.5), "seconds"),
        _reading(task, "p95", found[:, :1], lambda v, w: weighted_quantile(v[:, 0], w, 0.95), "seconds"),
        _reading(task, "speed", found, speed, "tokens per second"),
    ]
    if task.reference is not None:
        both = np.concatenate([found, waited(task.reference, "timing the reference")], axis=1)
        readings.append(_reading(task, "speed_ratio", both, speed_ratio, "ratio"))
    return readings


def timed(model: Any, prompts: Sequence[str], tokens: int, told: Callable[[int], None] = lambda done: None) -> Array:
    """Return what each answer took.

    Args:
        model: A version.
        prompts: Each is asked alone; the first of them once more before all, so that what is made once is there.
        tokens: The most of an answer.
        told: Told how many were asked.

    Returns:
        Seconds on the clock, seconds on the core and tokens that the model said, at least one, of each answer, shape
        (prompts, 3).
    """
    model, found = replace(model, known=None), []  # an answer that is known takes no time
    for number, prompt in enumerate([*prompts[:1], *prompts]):
        told(number)
        clock, core = time.perf_counter(), time.process_time()
        (answer,) = model.generate([prompt], max_new_tokens=tokens)
        took = time.perf_counter() - clock, time.process_time() - core
        said = len(model.tokenizer(without_citations(answer), add_special_tokens=False)["input_ids"])
        found.append((*took, max(min(said, tokens), 1)))
    return np.array(found[1:], dtype=float).reshape(-1, 3)


def speed(taken: Array, weights: Array) -> Array:
    """Return tokens a second under each row of weights; columns are seconds and tokens."""
    sums: Array = weights @ taken
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


def _reading(task: ProbeTask, name: str, taken: Array, statistic: Any, unit: str) -> Reading:
    value = float(statistic(taken, np.ones((1, len(taken))))[0]) if len(taken) else float("nan")
    low, high = bootstrap_by_person(taken, range(len(taken)), statistic, seed=task.seed) or (None, None)
    return Reading(f"rag.latency/{name}", value, low, high, len(taken), unit)
