"""One judgement of each edit whatever its verb: what a policy reads, where a file mixes verbs.

- modify: the new answer is likelier than the old one (CounterFact's success);
- insert: there is no old answer to be likelier than, so every token of the new one must be the first choice;
- erase: the old answer is no longer the first choice at every token. That is little: `editing.erasure` reads more.

Neighbours of a modified fact are judged by success; any other's by whether their own answer is the first choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from amends import ProbeTask, Reading, Records
from amends.operation.measuring import mean_logp
from amends_editing.asking import Edit, Item, read_edits, score_items, words_of
from amends_editing.facts import Verb
from amends_editing.sides import read_sides


@dataclass(frozen=True, repr=False)
class Asked(Item):
    """A question with the way to judge it: against `other` where there is one, else by the first choice.

    Args:
        is_gone: Whether it is right that the answer does not come first.
    """

    is_gone: bool = False


def read_outcome(task: ProbeTask, records: Records) -> list[Reading]:
    """Read the shares of edits that did what they were to do: as asked, in other words, and beside them."""
    edits = read_edits(records)
    sides: dict[str, list[Item]] = {"efficacy": [], "paraphrase": [], "neighbourhood": []}
    for owner, edit in enumerate(edits):
        sides["efficacy"].append(_own(owner, edit, edit.fact.prompt))
        sides["paraphrase"] += [_own(owner, edit, text) for text in edit.fact.rephrases]
        sides["neighbourhood"] += [
            Asked(owner, near.prompt, near.answer, _contest(near.answer, edit.fact.target))
            for near in edit.fact.neighbours
            if near.answer.strip()
        ]
    return read_sides(task, "editing.outcome", edits, sides, lambda items: _judge(task, items))


def _own(owner: int, edit: Edit, prompt: str) -> Asked:
    fact = edit.fact
    if fact.verb is Verb.ERASE:
        return Asked(owner, prompt, fact.old, is_gone=True)
    return Asked(owner, prompt, fact.target, _contest(fact.target, fact.old))


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
        is_first = all(score.correct.tolist())
        if item.other.strip():
            found.append(float(mean_logp(score) > mean_logp(next(scores))))
        else:
            found.append(float(is_first != (isinstance(item, Asked) and item.is_gone)))
    return found
