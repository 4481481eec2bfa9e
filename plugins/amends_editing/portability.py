"""What follows from an edit, and what must not: KnowEdit's portability and locality, and the fact in reverse."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from amends import ProbeTask, Reading, Records
from amends_editing.asking import Edit, Item, per_edit, read_edits, score_items
from amends_editing.sides import read_share

KINDS = ("reasoning", "alias", "specificity")


def read_portability(task: ProbeTask, records: Records) -> list[Reading]:
    """Read how questions that follow from the edits are answered, and those about other relations of the subject."""
    edits = read_edits(records)
    return [reading for kind in KINDS for reading in _read(task, f"editing.portability/{kind}", edits, kind)]


def read_reverse(task: ProbeTask, records: Records) -> list[Reading]:
    """Read whether the edited facts are known from their other end: asked for the subject, given the target."""
    return _read(task, "editing.reverse/accuracy", read_edits(records), "reverse")


def _read(task: ProbeTask, name: str, edits: Sequence[Edit], kind: str) -> list[Reading]:
    """Read one kind of question: answers whose every token is the first choice, and KnowEdit's share of such tokens."""
    items = [
        Item(owner, question.prompt, question.answer)
        for owner, edit in enumerate(edits)
        for question in edit.fact.portability
        if question.kind == kind and question.answer.strip()
    ]
    scores = score_items(task, [(item.prompt, item.answer) for item in items], f"scoring {kind} questions")
    correct = [score.correct.tolist() for score in scores]
    owners = [item.owner for item in items]
    exact = per_edit(len(edits), owners, [float(all(tokens)) for tokens in correct])
    shares = per_edit(len(edits), owners, [float(np.mean(tokens)) for tokens in correct])
    return [read_share(task, name, edits, exact), read_share(task, f"{name}_by_token", edits, shares)]
