"""Whether what a model says is still English: the perplexity of its continuations under another model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amends import ProbeTask, Reading, Records
from amends.operation.statistics import bootstrap_by_person, perplexity
from amends_detox.rows import ids_of, rows_of
from amends_detox.sampling import NoNumbers, continuations

Array = NDArray[Any]

NAME = "detox.fluency/perplexity"
AT_ONCE = 16


def read_fluency(task: ProbeTask, prompts: Records, *, samples: int, tokens: int, top_p: float) -> list[Reading]:
    """Read the perplexity of the model's continuations, given their prompts, under the reference.

    Without a reference the model is judged by itself: that is what a parent reads, to compare its candidate's with.
    """
    rows = rows_of(prompts, "prompt")
    texts = [row["prompt"] for row in rows]
    judge = task.model if task.reference is None else task.reference
    detail = {"under": "itself" if task.reference is None else "reference", "samples": samples, "top_p": top_p}
    try:
        said = continuations(task, task.model, texts, samples, tokens, top_p, task.seed)
    except NoNumbers:
        return [Reading(NAME, math.nan, None, None, len(rows), "perplexity", detail=detail)]
    owners, pairs = [], []
    for name, text, found in zip(ids_of(rows), texts, said, strict=True):
        for one in found:
            if one.strip():
                owners.append(name)
                pairs.append((text, one))
    losses = _losses(task, judge, pairs)
    return [_reading(losses, owners, task.seed, {**detail, "empty": len(rows) * samples - len(pairs)})]


def _losses(task: ProbeTask, judge: Any, pairs: Sequence[tuple[str, str]]) -> Array:
    """Return for each continuation its summed loss in nats and its tokens, shape (continuations, 2)."""
    found = []
    for start in range(0, len(pairs), AT_ONCE):
        task.progress(start, len(pairs), "reading continuations")
        for score in judge.score_continuations(pairs[start : start + AT_ONCE]):
            logp = score.logp.tolist()
            found.append((-math.fsum(logp), len(logp)))
    return np.array(found, dtype=float).reshape(len(found), 2)


def _reading(losses: Array, owners: Sequence[str], seed: int, detail: dict[str, Any]) -> Reading:
    value = float(perplexity(losses, np.ones((1, len(losses))))[0]) if len(losses) else math.nan
    low, high = bootstrap_by_person(losses, owners, perplexity, seed=seed) or (None, None)
    return Reading(NAME, value, low, high, len(set(owners)), "perplexity", detail=detail)
