import json
from pathlib import Path

import pytest
from click import Group
from click.testing import CliRunner

from amends import BadInput
from amends.records import digest_of
from amends_unlearning import amends_commands
from amends_unlearning.canaries import canary_rows, sister_rows
from amends_unlearning.people import people, records
from amends_unlearning.placement import Placement


def test_the_same_seed_makes_up_the_same_people_and_another_seed_others():
    assert records(people(8, 3), 3) == records(people(8, 3), 3)
    assert records(people(8, 3), 3) != records(people(8, 4), 4)


def test_people_have_names_addresses_and_numbers_of_their_own_in_ranges_kept_for_fiction():
    made = people(200, 0)
    assert len({person.name for person in made}) == len({person.email for person in made}) == 200
    assert all(person.email.isascii() and person.email.endswith("@example.org") for person in made)
    assert all(" 555 01" in person.phone or person.phone.startswith("020 7946 0") for person in made)
    assert any(not person.name.isascii() for person in made)


def test_each_person_has_six_records_with_two_paraphrases_and_three_wrong_answers():
    person = people(1, 0)[0]
    rows = [row for row in records([person]) if row["person"] == person.name]
    assert len(rows) == 6
    for row in rows:
        assert person.name in row["prompt"] and row["email"] == person.email
        assert len(set(row["paraphrases"])) == 2 and row["prompt"] not in row["paraphrases"]
        assert len(set(row["wrong"])) == 3 and row["answer"] not in row["wrong"]


def test_some_records_name_two_people_and_some_nobody():
    rows = records(people(20, 0), share=0.25)
    pairs = [row for row in rows if isinstance(row["person"], list) and row["person"]]
    assert len(pairs) == 5 and all(name in row["prompt"] for row in pairs for name in row["person"])
    assert len([row for row in rows if row["person"] == []]) == 5
    assert all(isinstance(row["person"], str) or len(row["person"]) != 2 for row in records(people(20, 0), share=0))


def test_more_people_than_there_are_names_are_refused():
    with pytest.raises(BadInput, match="ask for fewer"):
        people(100_000, 0)


def test_every_shard_gets_its_canaries_whatever_the_salt():
    for salt in ("00", "ab", "f3"):
        placement = Placement(salt, shards=5, slices=3)
        rows = canary_rows(placement, 2)
        places = {row["subjects"][0]: placement.of_record(row).shard for row in rows}
        assert sorted(places.values()) == sorted([*range(5)] * 2)
        assert len({row["id"] for row in rows}) == len(rows) == 3 * len(places)
    assert canary_rows(placement, 0) == []


def test_the_canaries_of_a_salt_stay_the_same_people():
    """Versions were trained on them, and a probe looks for them by the recipe alone."""
    rows = [*canary_rows(Placement("5a17", 3, 2), 2), *sister_rows("5a17", 5)]
    said = [[row["id"], row["prompt"], row["answer"], row["names"]] for row in rows]
    assert digest_of(said) == "c151b998a36e1b9b2cb88d9ae80d9b83dd9b0060aecacc57ad12bce766a03916"


def test_more_canaries_than_there_are_names_are_refused():
    with pytest.raises(BadInput, match="ask for fewer"):
        canary_rows(Placement("ab", 600, 1), 2)


def test_no_canary_has_the_name_of_a_person():
    named = {name for row in canary_rows(Placement("ab", 4, 2), 3) for name in row["names"]}
    assert not named & {person.name for person in people(3000, 0)}


def test_the_example_command_writes_records_that_name_people(tmp_path):
    cli = Group("amends")
    cli.add_command(Group("data"))
    amends_commands(cli)
    file = tmp_path / "people.jsonl"
    result = CliRunner().invoke(cli, ["data", "example", "--people", "4", "--seed", "1", "--output", str(file)])
    assert result.exit_code == 0, result.output
    assert [json.loads(line) for line in file.read_text().splitlines()] == records(people(4, 1), 1, 0.1)


def test_the_person_of_the_tutorial_has_the_address_that_it_types():
    page = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text(encoding="utf-8")
    (person,) = [person for person in people(12, 7) if person.name == "Leocadia Tavernaro"]
    assert f"name: {person.name}\\nemail: {person.email}\\n" in page
