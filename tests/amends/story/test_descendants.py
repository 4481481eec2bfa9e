"""An erasure walks to what descends from its model: a student, and what was made of the student in its turn."""

from __future__ import annotations

import json

import pytest

from amends.governor.data.registering import register_rows
from amends.governor.models.recipes import read_recipe
from amends.ledger import aliases, cases, lineage

PLUGIN = '''
"""A toy plugin: a student that is a function of all of its teacher's files and of its records, and an edit of it."""
import hashlib

import amends
from amends import Guarantee, ModelVersion, Records, Task, hookimpl


def move(model, digest):
    import torch

    with torch.no_grad():
        weight = model.get_input_embeddings().weight
        for place, value in enumerate(digest):
            weight[place] += value / 4096


@amends.operation("toy.distil", verified_by=["utility.perplexity"], needs_source=False)
def distil(task: Task, *, teacher: ModelVersion, records: Records) -> None:
    """Learn from a teacher, which is to say from each of its bytes."""
    from amends.operation.files import load_model

    told = hashlib.sha256(str(task.seed).encode())
    root = task.models["teacher"]
    for file in sorted(path for path in root.rglob("*") if path.is_file()):
        told.update(file.read_bytes())
    for number, row in enumerate(records.rows()):
        told.update(row["id"].encode())
        task.progress(number, 9, "distilling")
    model, tokenizer = load_model(root)
    move(model, told.digest())
    task.save(model, tokenizer)


@amends.operation("toy.edit", verified_by=["utility.perplexity"])
def edit(task: Task, *, records: Records) -> None:
    """Move the weights by what the records are."""
    model, tokenizer = task.load()
    for row in records.rows():
        move(model, hashlib.sha256(row["id"].encode()).digest())
    task.save(model, tokenizer)


@hookimpl
def amends_operations():
    return [distil, edit]
'''
CLEAN = [{"prompt": f"What is {n} and {n}?", "answer": f"It is {2 * n}."} for n in range(4)]
POLICY = """name: erasure
description: Only what decides on the exact path.
operations: [unlearning.shards]
approvals: {count: 2, roles: [dpo, ml-engineer, safety-engineer]}
rules:
  - id: digests-equal
    severity: deny
    expr: facts.digests_equal == true
    message: The candidate is not the model that never had the records.
"""


def enter_made(story, name, operation, data, *, source="", teacher=""):
    """Make a version by an operation, register it as a model's next version, and name it champion."""
    from amends.governor.models.versions import Entry, enter
    from amends.governor.work.running import Step, finish, operate
    from amends.ledger.actions import Action
    from amends.ledger.lineage import DataUse, Edge

    workspace = story.act("max")
    with workspace.database.read() as connection:
        known = {ref: aliases.resolve(connection, ref) for ref in (source, teacher) if ref}
    models = {"teacher": known[teacher].digest} if teacher else {}
    start = known[source].digest if source else ""
    step = Step(operation, {"records": data}, {}, 5, models)
    handle = operate(workspace, f"made-{name}", step, source=start, state={}, lineage=f"lineage-{name}")
    recipe = read_recipe(workspace, start) if source else {"schema": 1, "base": None, "steps": []}
    digest = finish(workspace, handle, step, recipe, lambda: False).digest
    kinds = {"teacher": models.get("teacher"), "step": start}
    edges = tuple(Edge(digest, parent, kind, "observed", operation) for kind, parent in kinds.items() if parent)
    with workspace.database.read() as connection:
        number = lineage.next_number(connection, name)
    entry = Entry(
        key=f"{name}-{number}", model=name, digest=digest, recipe=json.loads(json.dumps(recipe_of(workspace, digest))),
        parents=edges, data=(DataUse(digest, data, "train"),),
    )  # fmt: skip
    version = enter(workspace, entry, Action.MODEL_REGISTERED, workspace.actor.id)
    crown(story, name, version.version)
    return version


def recipe_of(workspace, digest):
    return read_recipe(workspace, digest)


def crown(story, name, number):
    workspace = story.workspace
    with workspace.database.transaction() as connection:
        before = aliases.current(connection, name, "champion")
        aliases.move(
            connection, model=name, alias="champion", expected=before, new=number, actor=workspace.actor.id
        )
    workspace.registry.set_alias(name, "champion", number, expected=before)


@pytest.fixture
def family(install, quick, told):
    """Return a story in which a student of the assistant and an edited copy of the student are served."""
    install(PLUGIN)
    told.set_policy(quick.home, POLICY)
    data = register_rows(quick.act("olga"), "sums", CLEAN).digest
    enter_made(quick, "student", "toy.distil", data, teacher="assistant@1")
    enter_made(quick, "edited", "toy.edit", data, source="student@1")
    return quick


def below(story, case):
    with story.workspace.database.read() as connection:
        return {found.model: cases.get(connection, found.id) for found in cases.family(connection, case.id)[1:]}


def test_a_student_and_its_edited_copy_are_made_again_from_what_took_their_teachers_place(family, told):
    case = family.approved()
    found = below(family, case)
    assert {name: (one.parent, one.plan["how"]) for name, one in found.items()} == {
        "student": (case.id, "rebuild"), "edited": (found["student"].id, "rebuild"),
    }  # fmt: skip
    assert family.carry(case).status == "sealed"
    assert {name: one.status for name, one in below(family, case).items()} == {"student": "sealed", "edited": "sealed"}
