"""What stands behind a version: who was erased since from what it learnt from, who signed it, where aliases stood."""

from __future__ import annotations

import pytest

from amends.governor.models.history import alias_history
from amends.governor.models.provenance import descends_from_erased
from amends.governor.models.signatures import is_signed, sign_version, signature_file
from amends.ledger import aliases, datasets, lineage
from amends.ledger.actions import Action
from amends.ledger.datasets import Dataset
from amends.ledger.lineage import DataUse, Edge, Version

OLD, NEW, OTHER = (letter * 64 for letter in "abc")
TREES = {number: f"{number}" * 64 for number in range(1, 9)}


@pytest.fixture
def enter(small_workspace):
    """Return `enter(number, parents, data, case)`, which enters a version of `assistant` in the ledger alone."""

    def enter(number, parents=(), data=(), case=None):
        version = Version("assistant", number, TREES[number], {"steps": []}, case_id=case)
        edges = [Edge(TREES[number], TREES[parent], kind) for parent, kind in parents]
        uses = [DataUse(TREES[number], dataset, "train") for dataset in data]
        with small_workspace.database.transaction() as connection:
            lineage.add_version(connection, version, edges, uses)
        return TREES[number]

    return enter


def erase(workspace, case, old=OLD, new=NEW):
    """Write down what an erasure does to a data set."""
    with workspace.database.transaction() as connection:
        datasets.register(connection, Dataset(new, "people", 3, 1, 0, parent=old), [])
        body = {"old": old, "new": new}
        workspace.record(connection, f"{case}:data:{old[:16]}:{new[:16]}", Action.DATA_SUPERSEDED, body)
        datasets.set_status(connection, old, "superseded")


@pytest.fixture
def learnt(small_workspace, enter):
    """Return a workspace in which version 1 learnt from data, and version 2 is a change of it."""
    with small_workspace.database.transaction() as connection:
        datasets.register(connection, Dataset(OLD, "people", 4, 2, 0), [])
        datasets.register(connection, Dataset(OTHER, "edits", 4, 2, 0), [])
    enter(1, data=[OLD])
    enter(2, parents=[(1, "step")], data=[OTHER], case="c-0")
    return small_workspace


def descends(workspace, *numbers):
    return [descends_from_erased(workspace, TREES[number]) for number in numbers]


def test_what_learnt_from_the_data_and_what_was_made_from_it_descend_from_who_was_erased(learnt, enter):
    assert descends(learnt, 1, 2) == [False, False]
    erase(learnt, "e-1")
    enter(3, parents=[(2, "rebuilt-from")], data=[NEW, OTHER], case="e-1")
    assert descends(learnt, 1, 2, 3) == [True, True, False]


def test_a_version_whose_recipe_still_names_the_data_is_clean_where_its_own_case_took_them_out(learnt, enter):
    erase(learnt, "e-1")
    enter(3, parents=[(2, "rebuilt-from")], data=[OLD, NEW], case="e-1")
    enter(4, parents=[(3, "step")], data=[OTHER], case="c-1")
    enter(5, parents=[(2, "step")], data=[OTHER], case="c-2")  # made before, finished later
    assert descends(learnt, 3, 4, 5) == [False, False, True]
    erase(learnt, "e-2", NEW, "d" * 64)
    assert descends(learnt, 3, 4) == [True, True]
    enter(6, parents=[(4, "rebuilt-from")], data=[OLD, "d" * 64], case="e-2")
    assert descends(learnt, 6) == [False]


def test_data_that_nobody_knows_any_more_count_as_lost(learnt, enter):
    assert descends_from_erased(learnt, enter(3, data=["e" * 64]))


def test_only_this_workspaces_signature_over_this_digest_counts(small_workspace):
    from amends.governor.rotating import rotate

    one, two = TREES[1], TREES[2]
    assert not is_signed(small_workspace, one)
    for digest in (one, two):
        sign_version(small_workspace, digest)
    rotate(small_workspace)
    kept = signature_file(small_workspace, one).read_bytes()
    sign_version(small_workspace, one)
    assert is_signed(small_workspace, one) and signature_file(small_workspace, one).read_bytes() == kept
    signature_file(small_workspace, one).write_bytes(signature_file(small_workspace, two).read_bytes())
    assert not is_signed(small_workspace, one)
    signature_file(small_workspace, two).write_bytes(b"{")
    assert not is_signed(small_workspace, two)


def test_the_history_of_a_model_tells_of_an_alias_that_was_taken_away(small_workspace, enter):
    enter(1)
    about = {"model": "assistant", "alias": "champion", "actor": small_workspace.actor.id}
    with small_workspace.database.transaction() as connection:
        aliases.move(connection, **about, expected=None, new=1)
        aliases.withdraw(connection, **about, expected=1)
    moves = [(one["alias"], one["from"], one["to"]) for one in alias_history(small_workspace, "assistant")]
    assert moves == [("champion", None, 1), ("champion", 1, None)]
