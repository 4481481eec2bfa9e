"""The verb erase for a person's records: what was learnt as question and answer is asked of nobody in their place.

An edit comes with its subject; a record comes with the names of whom it is about, and the question that a version is
asked in the template. Each question that names its person is a fact to erase, its answer the old one. Nothing of it is
kept in the lineage's state: the keys of an erased person's facts would be a trace of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from amends import BadRecords, Load, Records, Task
from amends.operation.measuring import spread_over_people
from amends.serving.encoding import render
from amends_editing.applying import Plan, choose_layers, earlier_keys, reading_text, write_in_batches
from amends_editing.covariance import FEWEST_TOKENS, read_moments
from amends_editing.desk import Desk
from amends_editing.facts import Fact, Question, Verb
from amends_editing.memit import edit
from amends_editing.structure import inspect_model

ENOUGH = 2 * FEWEST_TOKENS  # of the kept text, at least; what it is cut into windows for leaves some over
BESIDE = 64  # kept questions that the guard looks at

Row = Mapping[str, Any]


def run(task: Task, forget: Records, retain: Records, plan: Plan, weight: float) -> None:
    """Erase what the records say of their people, and save the result.

    Args:
        task: The task.
        forget: What is to be forgotten.
        retain: What is to stay: the keys of its text are what an erasure must not disturb.
        plan: How to run it.
        weight: λ of MEMIT's eq. 14.

    Raises:
        BadRecords: There is nothing to forget or nothing to keep, or a question does not name its person.
        AmendsError: An update failed or moved too much; nothing is saved.
    """
    kept = sorted(retain.rows(), key=lambda row: str(row["id"]))
    facts = list(facts_of(list(forget.rows()), kept))
    model, tokenizer = task.load()
    anatomy = inspect_model(model)
    layers = choose_layers(anatomy, plan)
    moments = read_moments(anatomy, tokenizer, texts_of(kept), layers, plan.tokens, reading_text(task, len(facts)))
    earlier = earlier_keys(task, layers)
    desk = Desk(anatomy, tokenizer, layers, plan.solver, moments, plan.shrinkage, earlier, held=len(facts))
    for _ in write_in_batches(task, desk, facts, plan, partial(edit, weight=weight)):
        pass
    task.save(model, tokenizer)


def texts_of(kept: Sequence[Row]) -> Iterator[str]:
    """Yield the kept records as running text; few of them over and over, which leaves their mean as it is."""
    for _ in range(math.ceil(ENOUGH / Load.of(kept).tokens)):
        for row in kept:
            yield f"{render(row['prompt'])} {row['answer']}\n"


def facts_of(forget: Sequence[Row], kept: Sequence[Row]) -> Iterator[Fact]:
    """Yield each record as a fact to erase, asked as a version is asked; the kept ones are its neighbours.

    Raises:
        BadRecords: There is nothing to forget or nothing to keep, or a question does not name its person, so that
            nobody could stand in their place.
    """
    if not forget or not kept:
        raise BadRecords("erasing facts needs records to forget and records to keep; give it both")
    beside = tuple(Question(render(row["prompt"]), row["answer"]) for row in spread_over_people(kept, BESIDE))
    for row in sorted(forget, key=lambda row: str(row["id"])):
        yield Fact(str(row["id"]), Verb.ERASE, named_in(row), render(row["prompt"]), "", str(row["answer"]), (), beside)


def named_in(row: Row) -> str:
    """Return the longest of a record's names that its question has, just as it stands there.

    Raises:
        BadRecords: It has none of them.
    """
    prompt = str(row["prompt"])
    found = [name for name in row.get("names", ()) if name and name in prompt]
    if not found:
        raise BadRecords(
            "editing.forget erases facts asked by name, and the question of a record to forget does not name its "
            "person; take another method for this request"
        )
    return str(max(found, key=len))
