"""Three ways to judge an answer: is it likelier than the other, is it the first choice, is it said?"""

from __future__ import annotations

from collections.abc import Sequence

from amends import ProbeTask, Reading, Records
from amends.operation.measuring import mean_logp
from amends_editing.asking import Item, begins_with, complete, read_edits, score_items, words_of
from amends_editing.sides import read_sides, sides_of


def read_success(task: ProbeTask, records: Records) -> list[Reading]:
    """Read how often the right answer is likelier than the other (Meng et al., 2022: ES, PS, NS and S).

    Likelihoods are means over an answer's tokens. The edit's prompt and its rephrases ask for the target rather than
    the old answer, the neighbours for their own rather than the target. A question without two different answers is
    left out, so erasures are.
    """
    edits = read_edits(records)
    sides = {side: [item for item in items if _has_contest(item)] for side, items in sides_of(edits).items()}

    def judge(items: Sequence[Item]) -> list[float]:
        pairs = [(item.prompt, answer) for item in items for answer in (item.answer, item.other)]
        logp = [mean_logp(score) for score in score_items(task, pairs, "scoring answers")]
        return [float(wanted > other) for wanted, other in zip(logp[::2], logp[1::2], strict=True)]

    return read_sides(task, "editing.success", edits, sides, judge)


def _has_contest(item: Item) -> bool:
    return bool(item.other.strip()) and words_of(item.answer) != words_of(item.other)


def read_accuracy(task: ProbeTask, records: Records) -> list[Reading]:
    """Read how often every token of the right answer is the model's first choice, the answer being fed to it."""
    edits = read_edits(records)

    def judge(items: Sequence[Item]) -> list[float]:
        scores = score_items(task, [(item.prompt, item.answer) for item in items], "scoring answers")
        return [float(all(score.correct.tolist())) for score in scores]

    return read_sides(task, "editing.accuracy", edits, sides_of(edits), judge)


def read_generation(task: ProbeTask, records: Records, *, tokens: int) -> list[Reading]:
    """Read how often what the model says by itself begins with the right answer, case and punctuation aside."""
    edits = read_edits(records)
    sides = {side: [item for item in items if words_of(item.answer)] for side, items in sides_of(edits).items()}

    def judge(items: Sequence[Item]) -> list[float]:
        said = complete(task, [item.prompt for item in items], tokens, "answering")
        return [float(begins_with(text, item.answer)) for text, item in zip(said, items, strict=True)]

    return read_sides(task, "editing.generation", edits, sides, judge)
