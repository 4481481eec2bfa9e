"""Which of the facts that a teacher knows its student knows as well, and how well it knows what it knows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from amends import ProbeTask, Reading, Records
from amends.operation.measuring import mean_logp, mean_reading, person_of, score_in_steps, spread_over_people
from amends_distillation.beside import both

EFFECT = 0.1
NAME = "distillation.facts"


def read_facts(task: ProbeTask, retain: Records, *, most: int) -> list[Reading]:
    """Read the share of the teacher's facts that the student has, and the shares that each of them has.

    A fact is known where every token of its answer is the model's first choice after the tokens before it, as in a
    cloze test. Where the teacher knows none, nothing can be kept, and the share is NaN.
    """
    rows = spread_over_people(retain.rows(), most)
    pairs = [(row["prompt"], row["answer"]) for row in rows]
    student, teacher = both(task)
    own = score_in_steps(task, student, pairs, "asking the student")
    others = score_in_steps(task, teacher, pairs, "asking the teacher")
    people = [person_of(row) for row in rows]
    taught = [(score, whose) for score, first, whose in zip(own, others, people, strict=True) if _is_known(first)]
    likely = [likelihood(mean_logp(score), mean_logp(first)) for score, first in zip(own, others, strict=True)]
    return [
        _reading(task, "kept", [float(_is_known(score)) for score, _ in taught], [whose for _, whose in taught]),
        _reading(task, "student", [float(_is_known(score)) for score in own], people),
        _reading(task, "teacher", [float(_is_known(score)) for score in others], people),
        _reading(task, "likelihood", likely, people),
    ]


def likelihood(own: float, others: float) -> float:
    """Return how likely a fact is to the student over how likely it is to the teacher, 1 at most, NaN where unread."""
    apart = own - others
    return math.exp(apart) if math.isnan(apart) or apart < 0 else 1.0


def _is_known(score: Any) -> bool:
    tokens = score.correct.tolist()[:-1]  # the end of the sequence is no part of a fact
    return bool(tokens) and all(tokens)


def _reading(task: ProbeTask, name: str, values: Sequence[float], people: Sequence[str]) -> Reading:
    return mean_reading(f"{NAME}/{name}", values, people, seed=task.seed, unit="share", effect=EFFECT)
