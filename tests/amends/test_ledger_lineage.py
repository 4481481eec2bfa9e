"""Lineage and aliases: what inherits what, and a name that moves only from where the mover believes it is."""

from __future__ import annotations

import threading

import pytest

from amends.errors import BadInput, Denied, Tampered, UnknownModel
from amends.ledger import aliases, inventory, lineage
from amends.ledger.inventory import StateBlob
from amends.ledger.lineage import DataUse, Edge, Version
from amends.records import Guarantee, ModelVersion

BASE, ONE, TWO, STUDENT, REBUILT = (letter * 64 for letter in "abcde")
DATA, LATER = "1" * 64, "2" * 64


@pytest.fixture
def family(database):
    """Enter base → one → two, a student of two, and one rebuilt without somebody."""
    with database.transaction() as connection:
        lineage.add_version(connection, Version("base", 1, BASE))
        uses = [DataUse(ONE, DATA, "train")]
        lineage.add_version(connection, Version("bot", 1, ONE, {"steps": [1]}), [Edge(ONE, BASE, "base")], uses)
        uses = [DataUse(TWO, LATER, "retain"), DataUse(TWO, DATA, "forget", "declared")]
        lineage.add_version(connection, Version("bot", 2, TWO), [Edge(TWO, ONE, "step", operation="editing.x")], uses)
        lineage.add_version(connection, Version("student", 1, STUDENT), [Edge(STUDENT, TWO, "teacher", "declared")])
        edges = [Edge(REBUILT, ONE, "rebuilt-from", case_id="case-1"), Edge(REBUILT, BASE, "base")]
        rebuilt = Version("bot", 3, REBUILT, guarantee=Guarantee.EXACT, case_id="case-1")
        lineage.add_version(connection, rebuilt, edges)
    return database


def names(versions):
    return [str(version.name) for version in versions]


def test_what_was_passed_on_is_found_however_far(family):
    with family.read() as connection:
        assert names(lineage.descendants(connection, ONE)) == ["bot@2", "student@1"]
        assert names(lineage.descendants(connection, BASE)) == ["bot@1", "bot@2", "bot@3", "student@1"]
        assert names(lineage.ancestors(connection, STUDENT)) == ["base@1", "bot@1", "bot@2"]
        assert names(lineage.ancestors(connection, REBUILT)) == ["base@1"]


def test_who_learned_from_data_is_found_and_who_forgot_it_is_not(family):
    with family.read() as connection:
        assert names(lineage.versions_trained_on(connection, [DATA])) == ["bot@1"]
        assert names(lineage.versions_trained_on(connection, [DATA, LATER])) == ["bot@1", "bot@2"]
        assert lineage.versions_trained_on(connection, []) == ()
        assert [use.evidence for use in lineage.data_of(connection, TWO)] == ["declared", "observed"]


def test_a_teacher_is_no_beginning_where_only_beginnings_are_asked_for(family):
    with family.read() as connection:
        assert names(lineage.ancestors(connection, STUDENT, without=["teacher"])) == []
        assert names(lineage.ancestors(connection, TWO, without=["teacher"])) == ["base@1", "bot@1"]


def test_what_data_taints_is_what_learnt_from_it_and_what_came_of_that(family):
    with family.read() as connection:
        assert names(lineage.tainted_by(connection, [DATA])) == ["bot@1", "bot@2", "student@1"]
        assert lineage.tainted_by(connection, []) == ()


def test_what_was_rebuilt_is_followed_from_one_to_the_next(family):
    with family.transaction() as connection:
        again = "f" * 64
        lineage.add_version(connection, Version("bot", 4, again), [Edge(again, REBUILT, "rebuilt-from")])
        assert names(lineage.rebuilt_from(connection, ONE)) == ["bot@3", "bot@4"]
        assert lineage.rebuilt_from(connection, STUDENT) == ()


def test_a_declared_circle_ends(family):
    with family.transaction() as connection:
        lineage.add_edge(connection, Edge(BASE, STUDENT, "teacher", "declared"))
        assert "student@1" in names(lineage.descendants(connection, ONE))


def test_a_version_is_entered_once_and_keeps_its_digest(family):
    with family.transaction() as connection:
        again = lineage.add_version(connection, Version("bot", 1, ONE), [Edge(ONE, BASE, "base")])
        assert again.recipe == {"steps": [1]}
        assert again.name == ModelVersion("bot", 1, ONE)
        with pytest.raises(Tampered, match="bot@1 has another digest"):
            lineage.add_version(connection, Version("bot", 1, TWO))
        with pytest.raises(BadInput, match="not those of bot@4"):
            lineage.add_version(connection, Version("bot", 4, "f" * 64), [Edge(ONE, BASE, "base")])


def test_two_numbers_may_share_one_digest(family):
    with family.transaction() as connection:
        lineage.add_version(connection, Version("bot", 4, ONE))
        assert names(lineage.by_digest(connection, ONE)) == ["bot@1", "bot@4"]


def test_a_purged_version_keeps_its_number_as_a_tombstone(family):
    with family.transaction() as connection:
        lineage.set_status(connection, "bot", 3, "purged")
        tomb = lineage.set_status(connection, "bot", 3, "purged")
        assert (tomb.status, tomb.digest, tomb.purged_at is not None) == ("purged", REBUILT, True)
        assert lineage.next_number(connection, "bot") == 4
        with pytest.raises(BadInput, match="its bytes are gone"):
            lineage.set_status(connection, "bot", 3, "active")


def test_where_a_version_lies_in_mlflow_is_remembered(family):
    with family.transaction() as connection:
        lineage.set_mlflow(connection, "bot", 1, version="1", model_id="m-1", run_id="r-1", uri="file:///x")
        found = lineage.get(connection, "bot", 1)
        assert (found.mlflow_version, found.mlflow_model_id, found.mlflow_uri) == ("1", "m-1", "file:///x")
        assert lineage.models(connection) == ("base", "bot", "student")


def test_state_is_released_only_when_nobody_else_uses_it(family):
    with family.transaction() as connection:
        for _ in range(2):
            inventory.add_state(
                connection, [StateBlob(ONE, "log", "x" * 64, "k"), StateBlob(ONE, "own", "y" * 64, "k")]
            )
        inventory.add_state(connection, [StateBlob(TWO, "log", "x" * 64, "k")])
        assert inventory.users_of(connection, "x" * 64) == (ONE, TWO)
        assert inventory.remove_state(connection, ONE) == ("y" * 64,)
        assert inventory.state_of(connection, ONE) == {}
        assert inventory.remove_state(connection, TWO) == ("x" * 64,)


def test_recipients_are_listed_and_told(family):
    with family.transaction() as connection:
        inventory.add_recipient(connection, ONE, "adapters", "f" * 64)
        (found,) = inventory.recipients_of(connection, [ONE, TWO])
        assert (found.what, found.told_at) == ("adapters", None)
        inventory.mark_told(connection, found.id)
        assert inventory.recipients_of(connection, [ONE])[0].told_at is not None


def move(connection, expected, new, case=None, alias="champion"):
    return aliases.move(connection, model="bot", alias=alias, expected=expected, new=new, actor="p-1", case=case)


def test_an_alias_moves_and_keeps_its_history(family):
    with family.transaction() as connection:
        move(connection, None, 1)
        move(connection, 1, 2)
        move(connection, 2, 1)
        past = [
            (step.revision, step.old_number, step.new_number) for step in aliases.history(connection, "bot", "champion")
        ]
        assert past == [(1, None, 1), (2, 1, 2), (3, 2, 1)]
        assert aliases.aliases_of(connection, "bot") == {"champion": 1}


@pytest.mark.parametrize("expected", [None, 2])
def test_an_alias_that_somebody_moved_meanwhile_stays(family, expected):
    with family.transaction() as connection:
        move(connection, None, 1)
        with pytest.raises(Denied, match="stands at version 1, not"):
            move(connection, expected, 3)
        assert aliases.current(connection, "bot", "champion") == 1


def test_of_two_who_move_an_alias_at_once_one_is_refused(family):
    with family.transaction() as connection:
        move(connection, None, 1)
    answers = []

    def race(new):
        try:
            with family.transaction() as connection:
                answers.append(move(connection, 1, new).new_number)
        except Denied:
            answers.append("refused")

    threads = [threading.Thread(target=race, args=(new,)) for new in (2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert "refused" in answers and len(set(answers)) == 2


def test_a_case_that_repeats_its_move_changes_nothing(family):
    with family.transaction() as connection:
        move(connection, None, 1)
        first = move(connection, 1, 3, case="case-1")
        assert move(connection, 1, 3, case="case-1") == first
        assert len(aliases.history(connection, "bot", "champion")) == 2


@pytest.mark.parametrize("status", ["sealed", "purged"])
def test_an_alias_never_stands_for_what_is_sealed_or_purged(family, status):
    with family.transaction() as connection:
        lineage.set_status(connection, "bot", 2, status)
        with pytest.raises(Denied, match=f"bot@2 is {status}"):
            move(connection, None, 2)


@pytest.mark.parametrize("name", ["latest", "v1", "v22", "2", "Champion", "a b", ""])
def test_names_that_mlflow_keeps_or_that_look_like_numbers_are_no_aliases(family, name):
    with family.transaction() as connection, pytest.raises(BadInput, match="cannot be an alias"):
        move(connection, None, 1, alias=name)


def test_a_reference_is_an_alias_a_number_or_the_champion(family):
    with family.transaction() as connection:
        move(connection, None, 2)
        move(connection, None, 1, alias="rollback")
        found = [aliases.resolve(connection, name).number for name in ("bot", "bot@champion", "bot@rollback", "bot@3")]
        assert found == [2, 2, 1, 3]
        with pytest.raises(UnknownModel, match="bot@champion, bot@rollback, bot@1, bot@2, bot@3"):
            aliases.resolve(connection, "bot@nobody")
        for wrong in ("bot@9", "nobody", ""):
            with pytest.raises(UnknownModel):
                aliases.resolve(connection, wrong)


def test_an_alias_that_is_taken_away_keeps_its_history_and_can_come_back(family):
    with family.transaction() as connection:
        move(connection, None, 1)
        with pytest.raises(Denied, match="stands at version 1, not version 2"):
            aliases.withdraw(connection, model="bot", alias="champion", expected=2, actor="p-1", case="case-9")
        gone = aliases.withdraw(connection, model="bot", alias="champion", expected=1, actor="p-1", case="case-9")
        again = aliases.withdraw(connection, model="bot", alias="champion", expected=1, actor="p-1", case="case-9")
        assert gone == again and gone.new_number == aliases.NOTHING
        assert aliases.current(connection, "bot", "champion") is None
        assert move(connection, None, 2).revision == 3
