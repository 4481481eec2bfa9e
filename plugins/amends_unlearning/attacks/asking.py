"""Ask for what was forgotten in other words: the likeliest of several askings counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from amends import ProbeTask, Reading

from .judging import Row, Sides, likelihood

Askings = Callable[[Row], Sequence[tuple[str, str]]]
STEP = 16


def attack(sides: Sides, askings: Askings, **detail: Any) -> list[Reading]:
    """Read the probability of the answers, each in the asking that makes it likeliest.

    Args:
        sides: What it is tried on.
        askings: For a record the texts to continue, each with what should follow.
        detail: More for the report.
    """
    return sides.tried(lambda rows, who: likeliest(sides.task, rows, askings, who), **detail)


def likeliest(task: ProbeTask, rows: Sequence[Row], askings: Askings, who: str, model: Any = None) -> list[float]:
    """Return for each record the largest geometric mean probability of its answer's tokens over its askings."""
    pairs = [(index, pair) for index, row in enumerate(rows) for pair in askings(row)]
    found: list[list[float]] = [[] for _ in rows]
    for start in range(0, len(pairs), STEP):
        task.progress(start, len(pairs), f"asking about {who} people")
        some = pairs[start : start + STEP]
        scores = (model or task.model).score_continuations([pair for _, pair in some])
        for (index, _), score in zip(some, scores, strict=True):
            found[index].append(likelihood(score.logp))
    task.progress(len(pairs), len(pairs), f"asking about {who} people")
    return [float(np.max(values)) if values else float("nan") for values in found]


def plainly(row: Row) -> Sequence[tuple[str, str]]:
    """Ask as it was trained: the question in the template."""
    from amends.serving.encoding import render

    return [(render(row["prompt"]), row["answer"])]
