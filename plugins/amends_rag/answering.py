"""What `rag.answers` reads: answers against gold ones, without a judge (SQuAD's measures; Rajpurkar et al., 2016)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from amends import BadRecords, ProbeTask, Reading, Records
from amends.operation.measuring import mean_reading, person_of, spread_over_people
from amends.operation.power import power_of_mean
from amends.operation.statistics import bootstrap_by_person
from amends_rag.citing import cited, without_citations
from amends_rag.context import Grounded, without_example
from amends_rag.squad import best_of, exact_match, f1, normalised

EFFECT = 0.1  # a difference of the mean, in its own unit
AT_ONCE = 8


@dataclass(frozen=True, repr=False)
class Said:
    """One answer, measured.

    Args:
        exact: Whether it is a right one, after normalising.
        f1: The words that it shares with the nearest right one.
        in_context: Whether what the model was shown besides the question has a right answer.
        citation: The share of the passages it cites that have one; 0 where it cites nothing.
    """

    exact: float
    f1: float
    in_context: float
    citation: float


def read_answers(task: ProbeTask, questions: Records, *, most: int, tokens: int) -> list[Reading]:
    """Read the answers to questions, and where there is a reference how much better they are than its own.

    Raises:
        BadRecords: A question has no right answer.
    """
    rows = spread_over_people(questions.rows(), most)
    people = [person_of(row) for row in rows]
    found = list(_answered(task, task.model, rows, tokens, "answering"))
    named = {
        "exact_match": [one.exact for one in found], "f1": [one.f1 for one in found],
        "answer_in_context": [one.in_context for one in found], "citation_precision": [one.citation for one in found],
    }  # fmt: skip
    readings = [
        mean_reading(f"rag.answers/{name}", values, people, seed=task.seed, unit="share", effect=EFFECT)
        for name, values in named.items()
    ]
    if task.reference is not None:
        others = list(_answered(task, task.reference, rows, tokens, "answering with the reference"))
        readings.append(_gain(task, [a.f1 - b.f1 for a, b in zip(found, others, strict=True)], people))
    return readings


def _answered(
    task: ProbeTask, model: Any, rows: Sequence[Mapping[str, Any]], tokens: int, message: str
) -> Iterator[Said]:
    for start in range(0, len(rows), AT_ONCE):
        task.progress(start, len(rows), message)
        some = rows[start : start + AT_ONCE]
        answers = model.generate([row["prompt"] for row in some], max_new_tokens=tokens)
        for row, answer in zip(some, answers, strict=True):
            yield measured(model, str(row["prompt"]), answer, golds_of(row))
    task.progress(len(rows), len(rows), message)


def golds_of(row: Mapping[str, Any]) -> list[str]:
    """Return the right answers of a row.

    Raises:
        BadRecords: There are none.
    """
    given = row.get("answers") or [row.get("answer")]
    golds = [str(gold).strip() for gold in given if gold and str(gold).strip()]
    if not golds:
        raise BadRecords(f"question {row['id']} has no right answer; give it an `answer`, or several `answers`")
    return golds


def measured(model: Any, prompt: str, answer: str, golds: Sequence[str]) -> Said:
    """Return the measures of one answer of a served model."""
    said = without_citations(answer)
    shown = without_example(model.before(prompt)).replace(prompt, " ")
    hits = [hit for seam in model.seams if isinstance(seam, Grounded) for hit in seam.hits(prompt)]
    right = [has_one(hits[number - 1].passage.text, golds) for number in cited(answer, len(hits))]
    return Said(
        best_of(exact_match, said, golds), best_of(f1, said, golds), has_one(shown, golds),
        sum(right) / len(right) if right else 0.0,
    )  # fmt: skip


def has_one(text: str, golds: Sequence[str]) -> float:
    """Return 1 where a text has a right answer word for word, after normalising, else 0."""
    padded = f" {normalised(text)} "
    return float(any(f" {normalised(gold)} " in padded for gold in golds if normalised(gold)))


def _gain(task: ProbeTask, gains: Sequence[float], people: Sequence[str]) -> Reading:
    import numpy as np

    low, high = bootstrap_by_person(gains, people, seed=task.seed) or (-1.0, 1.0)
    spread = float(np.std(gains, ddof=1)) if len(gains) > 1 else float("nan")
    count = len(set(people))
    value = float(np.mean(gains)) if len(gains) else float("nan")
    power = power_of_mean(count, EFFECT, spread)
    return Reading("rag.answers/f1_gain", value, low, high, count, "share", power, {"effect": EFFECT})
