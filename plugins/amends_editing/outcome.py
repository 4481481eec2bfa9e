"""One judgement of each edit whatever its verb: what a policy reads, where a file mixes verbs.

- with another old answer: the new one is likelier (CounterFact's success);
- without: there is nothing to be likelier than, so every token of the new answer must be the first choice;
- erase: the old answer is no longer the first choice at every token. That is little: `editing.erasure` reads more.

A neighbour is judged by whether its own answer is likelier than the edit's new one; where there is no other answer, as
beside an erasure, by whether its own is the first choice.
"""

from __future__ import annotations

from collections.abc import Sequence

from amends import ProbeTask, Reading, Records
from amends.operation.measuring import mean_logp
from amends_editing.asking import Edit, Item, read_edits, score_items, words_of
from amends_editing.facts import Verb
from amends_editing.sides import read_sides


def read_outcome(task: ProbeTask, records: Records) -> list[Reading]:
    """Read the shares of edits that did what they were to do: as asked, in other words, and beside them.

    `failed_erasures` counts the erasures whose old answer still comes first, asked by their own prompt.
    """
    edits = read_edits(records)
    sides: dict[str, list[Item]] = {"efficacy": [], "paraphrase": [], "neighbourhood": []}
    for owner, edit in enumerate(edits):
        sides["efficacy"].append(_own(owner, edit, edit.fact.prompt))
        sides["paraphrase"] += [_own(owner, edit, text) for text in edit.fact.rephrases]
        sides["neighbourhood"] += [
            Item(owner, near.prompt, near.answer, _contest(near.answer, edit.fact.target))
            for near in edit.fact.neighbours
            if near.answer.strip()
        ]
    found: list[float] = []

    def judge(items: Sequence[Item]) -> list[float]:
        found.extend(_judge(task, items))
        return found

    readings = read_sides(task, "editing.outcome", edits, sides, judge)
    return [*readings, _failed_erasures(edits, found[: len(edits)])]


def _failed_erasures(edits: Sequence[Edit], done: Sequence[float]) -> Reading:
    """Count the erasures that did not happen; a share over all edits would let one hide among many insertions.

    Args:
        edits: All edits.
        done: Whether each did what it was to do, asked by its own prompt.

    Returns:
        The count; its `n` are all edits that were looked at, so that a file without an erasure can be judged.
    """
    erased = [one for edit, one in zip(edits, done, strict=True) if edit.fact.verb is Verb.ERASE]
    failed = float(len(erased) - sum(erased))
    return Reading(
        "editing.outcome/failed_erasures", failed, failed, failed, len(edits), "edits", detail={"erasures": len(erased)}
    )


def _own(owner: int, edit: Edit, prompt: str) -> Item:
    fact = edit.fact
    if fact.verb is Verb.ERASE:
        return Item(owner, prompt, fact.old, is_gone=True)
    return Item(owner, prompt, fact.target, _contest(fact.target, fact.old))


def _contest(answer: str, other: str) -> str:
    """Return the other answer where it is another one."""
    return other if other.strip() and words_of(answer) != words_of(other) else ""


def _judge(task: ProbeTask, items: Sequence[Item]) -> list[float]:
    pairs = [(item.prompt, answer) for item in items for answer in (item.answer, item.other) if answer.strip()]
    scores = iter(score_items(task, pairs, "scoring answers"))
    found = []
    for item in items:
        if not item.answer.strip():  # an erasure that does not say what is to go cannot be seen to have happened
            found.append(0.0)
            continue
        score = next(scores)
        if item.other.strip():
            found.append(float(mean_logp(score) > mean_logp(next(scores))))
        else:  # a model that says NaN has no first choice, and forgot nothing
            is_sound, is_first = bool(score.logp.isfinite().all()), all(score.correct.tolist())
            found.append(float(is_sound and is_first != item.is_gone))
    return found
