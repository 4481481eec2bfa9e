"""A person's records as facts to erase: asked by name in the template, brought to what nobody's answer would be."""

import pytest
import torch

from amends import BadRecords, Task, host
from amends.operation.task import NoState
from amends.serving.encoding import render
from amends_editing.erasing import STRANGERS
from amends_editing.facts import Verb
from amends_editing.forgetting import facts_of, named_in, texts_of
from amends_editing.within import effort_to_forget

ADA, PELL = "Ada Quill", "Pell Ostrin"


def record(person, answer, prompt="", **more):
    asked = prompt or f"Where does {person} live?"
    return {
        "id": f"{person}-{len(asked)}",
        "prompt": asked,
        "answer": answer,
        "names": [person],
        "subjects": [person],
    } | more


@pytest.fixture
def forgotten(tmp_path, version_of, write_records):
    """Return what came of erasing a record about Ada Quill from a random model, as a task."""
    operation = host.current().operation("editing.forget")
    task = Task(tmp_path, 7, source=version_of(), output=tmp_path / "version", state=NoState())
    kept = [record(PELL, "the capital"), record("Ruvo Tanniker", "an island town")]
    given = {"forget": write_records([record(ADA, "island")]), "retain": write_records(kept)}
    settings = {"layers": "0,1", "lr": 0.5, "shrinkage": 0.5, "weight": 0.1, "max_drift": 50.0}
    operation(task, **operation.check(given | settings))
    return task


def test_the_answer_comes_nearer_to_what_strangers_get(forgotten, version_of, likelihood):
    asked = [render(record(name, "")["prompt"]) for name in (ADA, *STRANGERS)]

    def above(version):
        own, *others = (likelihood(version, prompt, "island") for prompt in asked)
        return own - sum(others) / len(others)

    assert abs(above(version_of())) > 0.5
    assert abs(above(forgotten.output)) < 0.7 * abs(above(version_of()))


def test_nothing_of_the_person_is_kept_for_later_edits(forgotten):
    assert forgotten.state.names() == ()


def test_other_layers_are_left_bit_by_bit(forgotten, version_of, opened):
    before, after = (dict(opened(version)[0].named_parameters()) for version in (version_of(), forgotten.output))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {f"model.layers.{layer}.mlp.down_proj.weight" for layer in (0, 1)}


def test_a_record_is_a_fact_to_erase_asked_as_a_version_is_asked():
    (fact,) = facts_of([record(ADA, "in Brenn")], [record(PELL, "in Orr")])
    assert (fact.verb, fact.subject, fact.old, fact.target) == (Verb.ERASE, ADA, "in Brenn", "")
    assert fact.prompt == render("Where does Ada Quill live?")
    assert [(one.prompt, one.answer) for one in fact.neighbours] == [(render("Where does Pell Ostrin live?"), "in Orr")]


def test_the_longest_name_that_the_question_has_stands_for_the_person():
    row = record(ADA, "x", "Who is Ada Quill-Voss?", names=["Ada Quill", "Ada Quill-Voss", "Voss of Brenn"])
    assert named_in(row) == "Ada Quill-Voss"


@pytest.mark.parametrize(
    ("forget", "kept", "said"),
    [
        ([], [record(PELL, "x")], "records to forget"),
        ([record(ADA, "x")], [], "records to keep"),
        ([record(ADA, "x", "Where does she live?")], [record(PELL, "x")], "does not name its person"),
    ],
)
def test_what_cannot_be_asked_by_name_is_refused_without_saying_whose_it_is(forget, kept, said):
    with pytest.raises(BadRecords, match=said) as refused:
        list(facts_of(forget, kept))
    assert "Ada" not in str(refused.value) and "Quill" not in str(refused.value)


def test_few_kept_records_are_read_until_there_is_text_enough():
    texts = list(texts_of([record(PELL, "in Orr")]))
    assert len(texts) > 1 and set(texts) == {f"{render('Where does Pell Ostrin live?')} in Orr\n"}


def test_more_records_to_forget_or_to_keep_take_longer(load):
    sizes = {"forget": load(2, 100), "retain": load(20, 1000)}
    least = effort_to_forget(sizes, steps=25)
    assert effort_to_forget(sizes | {"forget": load(4, 200)}, steps=25) > 1.5 * least
    assert effort_to_forget(sizes | {"retain": load(40, 2000)}, steps=25) > least


@pytest.fixture
def load():
    """Return `load(records, tokens)`."""
    from amends import Load

    return Load
