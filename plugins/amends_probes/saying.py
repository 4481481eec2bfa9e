"""What a model says by itself: verbatim and knowledge memorisation (Shi et al., 2024, MUSE)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from amends import ProbeTask, Reading, Records
from amends.operation.measuring import mean_reading, person_of, spread_over_people
from amends.operation.wording import rouge_l
from amends.serving.encoding import STOP, render

EFFECT = 0.2
AT_ONCE = 16


def read_generation(task: ProbeTask, forget: Records, *, most: int, given: float, tokens: int) -> list[Reading]:
    """Read how much of an answer the model says: after its beginning, and after the question alone.

    MUSE gives the first tokens of a text; here they are words, so that the rest never begins within a word.
    """
    rows = spread_over_people(forget.rows(), most)
    halves = [(row, *beginning(row["answer"], given)) for row in rows]
    halves = [(row, first, rest) for row, first, rest in halves if first and rest]
    texts = [f"{render(row['prompt'])} {first}" for row, first, _ in halves]
    continued = _in_steps(task, texts, "continuing answers", lambda some: task.model.complete(some, tokens))
    said = _in_steps(task, [row["prompt"] for row in rows], "answering", lambda some: task.model.generate(some, tokens))
    verbatim = [rouge_l(rest, text.partition(STOP)[0]).f1 for (_, _, rest), text in zip(halves, continued, strict=True)]
    knowledge = [rouge_l(row["answer"], text).f1 for row, text in zip(rows, said, strict=True)]
    return [
        _reading(task, "verbatim", verbatim, [row for row, _, _ in halves], len(rows) - len(halves)),
        _reading(task, "knowledge", knowledge, rows, 0),
    ]


def beginning(answer: str, given: float) -> tuple[str, str]:
    """Split an answer after a share of its words, at least one; one word alone has no rest."""
    words = answer.split()
    cut = max(1, int(given * len(words)))
    return " ".join(words[:cut]), " ".join(words[cut:])


def _in_steps(task: ProbeTask, asked: Sequence[str], message: str, say: Any) -> list[str]:
    answers: list[str] = []
    for start in range(0, len(asked), AT_ONCE):
        task.progress(start, len(asked), message)
        answers += say(asked[start : start + AT_ONCE])
    task.progress(len(asked), len(asked), message)
    return answers


def _reading(
    task: ProbeTask, name: str, values: Sequence[float], rows: Sequence[Mapping[str, Any]], left_out: int
) -> Reading:
    return mean_reading(
        f"memorisation.generation/{name}",
        values,
        [person_of(row) for row in rows],
        seed=task.seed,
        unit="ROUGE-L F1",
        effect=EFFECT,
        detail={"left_out": left_out},
    )
