"""Whether a model is still of use: what it was to keep, and plain English."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amends import ProbeTask, Reading, Records
from amends.operation.measuring import (
    answer_in_steps,
    mean_logp,
    mean_reading,
    person_of,
    score_in_steps,
    spread_over_people,
)
from amends.operation.power import power_of_mean
from amends.operation.statistics import bootstrap_by_person, perplexity, perplexity_ratio
from amends.operation.wording import rouge_l

Array = NDArray[Any]

EFFECT = 0.1  # a fall of the mean, in its own unit
RISE = 1.1  # of the perplexity against the reference
AT_ONCE = 4


def read_retained(task: ProbeTask, retain: Records, *, most: int, generated: int) -> list[Reading]:
    """Read probability and ROUGE-L recall of retained answers.

    The probability of an answer is exp of its mean log-probability, the end of the sequence included.
    """
    rows = spread_over_people(retain.rows(), most)
    scores = score_in_steps(task, task.model, [(row["prompt"], row["answer"]) for row in rows], "scoring answers")
    likely = [math.exp(mean_logp(score)) for score in scores]
    asked = rows[: max(generated, 0)]
    said = answer_in_steps(task, task.model, [row["prompt"] for row in asked], "answering")
    recall = [rouge_l(row["answer"], text).recall for row, text in zip(asked, said, strict=True)]
    persons = [person_of(row) for row in rows]
    return [
        mean_reading("utility.retain/probability", likely, persons, seed=task.seed, unit="probability", effect=EFFECT),
        mean_reading(
            "utility.retain/rouge_l",
            recall,
            persons[: len(asked)],
            seed=task.seed,
            unit="share of words",
            effect=EFFECT,
        ),
    ]


def neutral_passages() -> list[str]:
    """Return the passages of plain English that this package ships, written for it and about nobody."""
    text = files("amends_probes").joinpath("texts", "neutral.txt").read_text(encoding="utf-8")
    return [" ".join(passage.split()) for passage in text.split("\n\n") if passage.strip()]


def read_perplexity(task: ProbeTask) -> list[Reading]:
    """Read exp of the mean loss for each token over the neutral passages, and its ratio to the reference's.

    Both intervals resample passages, which stand where people stand elsewhere.
    """
    measured = _losses(task, task.model, "reading passages")
    readings = [_reading(task, "perplexity", measured, perplexity, unit="perplexity")]
    if task.reference is not None:
        compared = np.concatenate([measured, _losses(task, task.reference, "reading with the reference")], axis=1)
        shifts = compared[:, 0] / compared[:, 1] - compared[:, 2] / compared[:, 3]
        power = power_of_mean(len(shifts), math.log(RISE), float(np.std(shifts, ddof=1)))
        readings.append(
            _reading(task, "ratio", compared, perplexity_ratio, unit="ratio", power=power, detail={"effect": RISE})
        )
    return readings


def _losses(task: ProbeTask, model: Any, message: str) -> Array:
    """Return for each passage its summed loss in nats and its number of tokens, shape (passages, 2)."""
    passages = neutral_passages()
    losses = []
    for start in range(0, len(passages), AT_ONCE):
        task.progress(start, len(passages), message)
        for score in model.score_text(passages[start : start + AT_ONCE]):
            logp = score.logp.tolist()
            losses.append((-math.fsum(logp), len(logp)))
    task.progress(len(passages), len(passages), message)
    return np.array(losses, dtype=float)


def _reading(
    task: ProbeTask,
    name: str,
    losses: Array,
    statistic: Any,
    *,
    unit: str,
    power: float | None = None,
    detail: Mapping[str, Any] | None = None,
) -> Reading:
    value = float(statistic(losses, np.ones((1, len(losses))))[0])
    low, high = bootstrap_by_person(losses, range(len(losses)), statistic, seed=task.seed) or (None, None)
    extras = {"tokens": int(losses[:, 1].sum()), **(detail or {})}
    return Reading(f"utility.perplexity/{name}", value, low, high, len(losses), unit, power, extras)
