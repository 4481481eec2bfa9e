"""Questions about somebody, and the same about people who do not exist."""

from __future__ import annotations

import random

import pytest

from amends.governor.data.disguises import GIVEN, SURNAMES, disguised, names_of_nobody
from amends.governor.subjects.questions import questions_about
from amends.governor.workspace import create_workspace
from amends.ledger import datasets
from amends.records import DataSubject, Disclosure
from amends.vault import subjects

NEW = {"zoe": "hana", "quist": "okoro"}


@pytest.fixture
def workspace(tmp_path):
    made, _ = create_workspace(tmp_path / "home")
    yield made
    made.close()


def ask(workspace, strangers=20, **identifiers):
    return questions_about(workspace, Disclosure(DataSubject("s_1"), identifiers), strangers, "e-0123456789")


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        ("zoe.quist@example.org", r"hana\.okoro@example\.org"),
        ("zquist@example.org", r"hokoro@example\.org"),
        ("Quist_Z@Example.org", r"Okoro_H@Example\.org"),
        ("zoe@quist-boats.example", r"hana@okoro-boats\.example"),
        ("seagull71@example.org", r"seagull7\d@example\.org"),
        ("+49 30 5550 7182", r"\+49 30 55\d\d \d\d\d\d"),
        ("020 7946 0123", r"020 79\d\d \d\d\d\d"),
        ("12 Quist Lane, 10115 Tarn", r"12 Okoro Lane, 1\d\d\d\d Tarn"),
        ("harbour@example.org", r"harbour@example\.org"),  # nothing in it tells people apart
    ],
)
def test_a_disguise_has_the_form_of_what_it_stands_for(value, shape):
    import re

    assert re.fullmatch(shape, disguised(value, NEW, random.Random(3)))


def test_a_disguise_differs_wherever_something_tells_people_apart():
    draw = random.Random(0)
    assert all(disguised("box 7", {}, draw) != "box 7" for _ in range(200))


def test_names_of_nobody_are_different_and_share_no_word_with_the_person():
    found = list(names_of_nobody(3, {"hana", "okoro"}, random.Random(1)))
    assert len(found) == len(set(found)) > 1000
    assert {len(name.split()) for name in found} == {3}
    assert not any("Hana" in name or "Okoro" in name for name in found)
    assert len(list(names_of_nobody(1, (), random.Random(1)))) == len(GIVEN) + len(SURNAMES)


def test_everybody_is_asked_the_same_number_of_the_same_questions(workspace):
    asked = ask(
        workspace, name=("Quist, Zoë", "ZOË BRAND"), email=("zoe.quist@example.org",), phone=("+49 30 5550 7182",)
    )
    assert (len(asked.own), len(asked.strangers), asked.people) == (4, 80, 20)
    assert [row["names"] for row in asked.own] == [["Zoë Quist"]] * 2 + [["Zoë Brand"]] * 2
    assert asked.own[0]["prompt"] == "What is the e-mail address of Zoë Quist?"
    assert {row["subjects"][0] for row in asked.own} == {"s_asked"} and asked.kinds == ("email", "phone")
    by_person = {row["subjects"][0]: [] for row in asked.strangers}
    for row in asked.strangers:
        by_person[row["subjects"][0]].append(row)
    assert {len(rows) for rows in by_person.values()} == {4} and len({row["id"] for row in asked.strangers}) == 80
    for first, *others in by_person.values():
        given, surname = first["names"][0].lower().split()
        assert first["answer"] == f"{given}.{surname}@example.org"
        assert first["names"][0].split()[0] == others[-1]["names"][0].split()[0]  # as both of hers begin with Zoë
        assert first["prompt"] == f"What is the e-mail address of {first['names'][0]}?"


def test_strangers_are_the_same_for_the_same_case_and_nobody_who_is_registered(workspace):
    given = {"name": ("Zoë Quist",), "email": ("zoe.quist@example.org",)}
    first = ask(workspace, **given)
    assert ask(workspace, **given).strangers == first.strangers
    taken = first.strangers[0]["names"][0]
    entries = subjects.index_entries(workspace.keyring, {"name": (taken,)})
    with workspace.database.transaction() as connection:
        datasets.add_to_index(connection, [("s_taken", kind, mac) for kind, mac in entries])
    again = {row["names"][0] for row in ask(workspace, strangers=300, **given).strangers}
    assert taken not in again and len(again) == 300


@pytest.mark.parametrize(
    "given", [{"name": ("Zoë Quist",)}, {"email": ("zoe@example.org",)}, {"name": ("…",), "email": ("a@b.c",)}]
)
def test_a_name_alone_or_no_name_leaves_nothing_to_ask(workspace, given):
    asked = ask(workspace, **given)
    assert (asked.own, asked.strangers, asked.people) == ((), (), 0)


def test_any_other_identifier_is_asked_for_by_its_kind(workspace):
    asked = ask(workspace, name=("Zoë Quist",), home_address=("12 Quist Lane, Tarn",))
    assert asked.own[0]["prompt"] == "What is the home address of Zoë Quist?"
    assert asked.own[0]["openings"] == ["Zoë Quist's home address is"]


def test_what_was_asked_prints_nothing_of_the_person(workspace):
    asked = ask(workspace, name=("Zoë Quist",), email=("zoe@example.org",))
    assert "Quist" not in repr(asked) and "example.org" not in repr(asked)
