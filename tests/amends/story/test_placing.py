"""Where training in shards puts people: by a salt of each lineage's own, and by what their records say of them."""

from __future__ import annotations

from amends.governor.data.registering import register
from amends.governor.data.rows import rows_of
from amends.governor.work.training import open_training
from amends.ledger import cases
from amends_unlearning.placement import Placement


def test_two_lineages_of_the_same_people_place_them_by_salts_drawn_apart(story):
    placements = []
    for model in ("one", "another"):
        case = open_training(story.act("max"), base="tiny@1", data="people", model=model)
        with story.workspace.database.read() as connection:
            given = cases.get(connection, case).plan["parameters"]
        assert len(bytes.fromhex(given["placement_salt"])) == 16 and given["placement_salt"] != given["router_salt"]
        placements.append(Placement(given["placement_salt"], given["shards"], given["slices"]))
    people = [f"s_{number}" for number in range(64)]
    same = sum(placements[0].of(person) == placements[1].of(person) for person in people)
    assert same < 32  # eight in expectation, of 4 x 2 places


def test_how_likely_somebody_is_to_ask_is_kept_with_their_records_and_no_other_field_is(story):
    story.file.write_text(
        '{"person": "Vera Lind", "prompt": "Where?", "answer": "There.", "ask_rate": 2, "mood": "calm"}\n'
        '{"person": "Odo Brandt", "prompt": "Who?", "answer": "He."}\n'
    )
    kept = register(story.act("olga"), "rated", story.file, controls=0)
    by_name = {row["names"][0]: row for row in rows_of(story.workspace, kept.digest)}
    assert by_name["Vera Lind"]["ask_rate"] == 2.0 and "mood" not in by_name["Vera Lind"]
    assert "ask_rate" not in by_name["Odo Brandt"]
