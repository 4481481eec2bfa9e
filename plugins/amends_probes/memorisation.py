"""What a model has by heart: extraction strength, exact memorisation and probability of an answer."""

from __future__ import annotations

import math

from amends import ProbeTask, Reading, Records
from amends.operation.measuring import extraction_strength, mean_logp, mean_reading, person_of, score_in_steps

EFFECT = 0.2


def read_extraction(task: ProbeTask, forget: Records) -> list[Reading]:
    """Read the three memorisation measures on the forgotten records; answers without a token are left out."""
    rows = list(forget.rows())
    scores = score_in_steps(task, task.model, [(row["prompt"], row["answer"]) for row in rows], "scoring answers")
    kept = [(row, score, score.correct.tolist()[:-1]) for row, score in zip(rows, scores, strict=True)]
    kept = [(row, score, tokens) for row, score, tokens in kept if tokens]
    persons = [person_of(row) for row, _, _ in kept]
    measured = {
        "strength": ([extraction_strength(tokens) for _, _, tokens in kept], "share of tokens"),
        "exact": ([sum(tokens) / len(tokens) for _, _, tokens in kept], "share of tokens"),
        "probability": ([math.exp(mean_logp(score)) for _, score, _ in kept], "probability"),
    }
    detail = {"left_out": len(rows) - len(kept)}
    return [
        mean_reading(
            f"memorisation.extraction/{name}",
            values,
            persons,
            seed=task.seed,
            unit=unit,
            effect=EFFECT,
            detail=detail,
        )
        for name, (values, unit) in measured.items()
    ]
