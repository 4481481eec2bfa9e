"""Which models descend from one that holds somebody, and after which of the others each can be made again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from amends.cli.casetext import exit_code
from amends.cli.familytext import family_lines
from amends.errors import BadPolicy
from amends.governor.cases.descending import descents
from amends.governor.models.heirs import heir_of, heirs_of, taught_by
from amends.governor.work import families
from amends.ledger import aliases, cases, lineage
from amends.ledger.lineage import DataUse, Edge, Version
from amends.policy import parse_policy
from amends.records import CaseStatus, Guarantee, weakest

DATA = "d" * 64


def digest(name):
    return name.encode().hex().ljust(64, "0")


def enter(connection, model, number=1, data=(), status="active", **parents):
    """Enter a version, with its parents by their kind: `teacher=["assistant@1"]`."""
    own = digest(f"{model}@{number}")
    edges = [Edge(own, digest(one), kind.replace("_", "-")) for kind, some in parents.items() for one in some]
    uses = [DataUse(own, dataset, "train") for dataset in data]
    lineage.add_version(connection, Version(model, number, own), edges, uses)
    lineage.set_status(connection, model, number, status)


def found(connection, root="assistant"):
    """Return the models that descend, with their versions and what each comes after, in order."""
    tainted = [version for version in lineage.tainted_by(connection, [DATA]) if version.status != "purged"]
    return [
        (one.model, [version.number for version in one.versions], one.after, one.is_circular)
        for one in descents(connection, root, tainted)
    ]


@pytest.fixture
def village(database):
    """Return a database with a model that learnt from the data, and one that did not."""
    with database.transaction() as connection:
        enter(connection, "tiny")
        enter(connection, "assistant", data=[DATA], base=["tiny@1"])
        enter(connection, "stranger", base=["tiny@1"])
    return database


def test_a_merge_of_two_students_comes_after_both(village):
    with village.transaction() as connection:
        enter(connection, "small", teacher=["assistant@1"])
        enter(connection, "zealous", teacher=["small@1"])
        enter(connection, "merged", step=["small@1"], teacher=["zealous@1", "stranger@1"])
        assert found(connection) == [
            ("small", [1], ("assistant",), False),
            ("zealous", [1], ("small",), False),
            ("merged", [1], ("small", "zealous"), False),
        ]


def test_what_was_replaced_already_needs_no_case_and_is_seen_past(village):
    with village.transaction() as connection:
        enter(connection, "small", teacher=["assistant@1"], status="sealed")
        enter(connection, "small", 2, rebuilt_from=["small@1"], teacher=["stranger@1"])
        enter(connection, "edited", step=["small@1"])
        enter(connection, "gone", step=["small@1"], status="purged")
        assert found(connection) == [("edited", [1], ("assistant",), False)]


@pytest.mark.parametrize(("status", "keeps"), [("active", ["small"]), ("quarantined", ["small"]), ("sealed", [])])
def test_a_refused_case_keeps_the_request_open_until_its_versions_are_sealed(village, erasure, status, keeps):
    child = replace(erasure, id="case-2", model="small", parent=erasure.id)
    with village.transaction() as connection:
        enter(connection, "small", teacher=["assistant@1"], status=status)
        cases.open_case(connection, erasure)
        cases.open_case(connection, child)
        cases.set_plan(connection, child.id, {"holds": {"versions": ["small@1"]}})
        cases.set_status(connection, child.id, CaseStatus.REFUSED)
        assert [case.model for case in families.open_below(connection, erasure.id)] == keeps


def test_what_is_quarantined_may_be_released_and_so_has_a_case_and_keeps_the_request_open(village, erasure):
    child = replace(erasure, id="case-2", model="small", parent=erasure.id)
    with village.transaction() as connection:
        enter(connection, "small", teacher=["assistant@1"], status="quarantined")
        assert found(connection) == [("small", [1], ("assistant",), False)]
        for case in (erasure, child):
            cases.open_case(connection, case)
        name = lineage.get(connection, "small", 1).name
        cases.set_plan(connection, child.id, {"holds": {"versions": [str(name)]}})
        cases.set_status(connection, child.id, CaseStatus.CANCELLED, outcome="refused")
        assert [case.id for case in families.unreplaced_below(connection, erasure.id)] == [child.id]
        lineage.set_status(connection, "small", 1, "sealed")
        assert families.open_below(connection, erasure.id) == []


def test_a_model_that_learnt_from_the_data_itself_is_a_request_of_its_own(village):
    with village.transaction() as connection:
        enter(connection, "sister", data=[DATA], base=["tiny@1"])
        enter(connection, "niece", teacher=["sister@1"])
        assert found(connection) == []
        assert [model for model, *_ in found(connection, "sister")] == ["niece"]


def test_models_that_were_made_from_one_another_are_said_to_be(village):
    with village.transaction() as connection:
        enter(connection, "left", teacher=["assistant@1"])
        enter(connection, "right", teacher=["left@1"])
        enter(connection, "left", 2, step=["left@1"], teacher=["right@1"])
        assert [(model, is_circular) for model, _, _, is_circular in found(connection)] == [
            ("left", True), ("right", True)
        ]  # fmt: skip


def test_the_champion_among_those_that_were_rebuilt_takes_a_versions_place(village):
    with village.transaction() as connection:
        for number, before in ((2, 1), (3, 2)):
            enter(connection, "assistant", number, rebuilt_from=[f"assistant@{before}"], base=["tiny@1"])
        old, second, third = (digest(f"assistant@{number}") for number in (1, 2, 3))
        assert heir_of(connection, old, {old}).number == 3
        aliases.move(connection, model="assistant", alias="champion", expected=None, new=2, actor="p-1")
        assert heirs_of(connection, [old, digest("tiny@1")], {old}) == {old: second}
        assert heir_of(connection, old, {old, second, third}) is None
        lineage.set_status(connection, "assistant", 2, "sealed")
        assert heir_of(connection, old, {old}).number == 3


def test_a_recipe_says_by_whom_its_steps_were_taught():
    steps = [{"records": {"text": "t"}}, {"records": {}, "models": {"teacher": "a", "other": "b"}}]
    assert taught_by(steps, {"a", "c"}) == {"a"} and taught_by(steps, ()) == set()


def test_the_weakest_of_several_promises_is_what_is_promised():
    assert weakest([Guarantee.EXACT]) == Guarantee.EXACT
    assert weakest([Guarantee.EXACT, Guarantee.APPROXIMATE, Guarantee.EXACT_BY_DATA_FLOW]) == Guarantee.APPROXIMATE


def test_a_policy_says_rebuild_or_retire_and_rebuild_where_it_says_nothing():
    text = "name: erasure\ndescription: d\nrules: [{id: a, severity: deny, expr: facts.digests_equal, message: m}]\n"
    assert parse_policy(text).descendants == "rebuild"
    assert parse_policy(text + "descendants: retire\n").descendants == "retire"
    with pytest.raises(BadPolicy, match="descendants must be rebuild or retire, not 'sometimes'"):
        parse_policy(text + "descendants: sometimes\n")


def member(id, parent, model, status, how=""):
    return {"id": id, "parent": parent, "model": model, "status": status, "how": how}


def test_a_request_is_drawn_as_a_tree_that_marks_the_case_one_looks_at():
    family = [
        member("e-1", None, "assistant", "sealed"),
        member("e-2", "e-1", "student", "failed", "rebuild"),
        member("e-3", "e-1", "copy", "sealed", "retire"),
        member("e-4", "e-2", "edited", "awaiting approval", "rebuild"),
    ]
    assert list(family_lines({"id": "e-2", "family": family}))[1:] == [
        "  e-1 on assistant: sealed",
        "    e-2 on student: failed, made again  <- this one",
        "      e-4 on edited: awaiting approval, made again",
        "    e-3 on copy: sealed, taken out of service",
    ]
    assert list(family_lines({"id": "e-5", "family": []})) == []
    assert exit_code({"id": "e-1", "status": "sealed", "family": family}) == 1
    assert exit_code({"id": "e-3", "status": "sealed", "family": family}) == 0
