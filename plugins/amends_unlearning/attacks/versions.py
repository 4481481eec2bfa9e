"""Compare two versions: what one lost against the other tells whose records were taken out (Chen et al., 2021).

The more people are erased at once, the less one of them stands out: batch requests.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from amends import Reading
from amends.operation.measuring import mean_logp, person_of, score_in_steps

from ..equivalence import Sample, areas
from .judging import Sides


def run(sides: Sides) -> list[Reading]:
    """Read the AUC of the answers' log-likelihood under the model minus that under the reference, and less 1/2."""
    task = sides.task
    samples = {}
    for who in ("forgotten", "control"):
        rows = sides.rows[who]
        pairs = [(row["prompt"], row["answer"]) for row in rows]
        own = [mean_logp(score) for score in score_in_steps(task, task.model, pairs, f"scoring {who} people")]
        if task.reference is None:
            gains = [float("nan") for _ in own]
        else:
            told = f"scoring {who} people with the reference"
            before = score_in_steps(task, task.reference, pairs, told)
            gains = [now - mean_logp(score) for now, score in zip(own, before, strict=True)]
        samples[who] = Sample(np.array(gains, dtype=float).reshape(-1, 1), tuple(person_of(row) for row in rows))
    named = [f"{sides.probe}/difference"]
    found = areas(named, samples["forgotten"], samples["control"], sides.choice.margin, seed=task.seed)[0]
    detail = {**found.detail, "half": sides.choice.half, "has_reference": task.reference is not None}
    found = replace(found, detail=detail)
    low, high = (None if end is None else min(1.0, max(0.0, end + 0.5)) for end in (found.low, found.high))
    return [replace(found, name=f"{sides.probe}/auc", value=found.value + 0.5, low=low, high=high), found]
