"""One judgement of each edit whatever its verb, on tables whose every probability is written down."""

import math

from amends_editing import probing


def row(number, verb, **more):
    """Return an edit with a rephrase and no neighbour."""
    name = f"S{number}"
    plain = {
        "id": f"e{number}",
        "verb": verb,
        "subject": name,
        "prompt": f"{name} is in",
        "target": "new",
        "old": "old",
    }
    return {**plain, "rephrases": [f"As for {name}, it is in"], "neighbours": [], "subjects": [f"p{number}"], **more}


def table(*probabilities):
    """Return tokens with these probabilities; above a half each is the first choice."""
    return [([p, 1 - p], 0) for p in probabilities]


def read(table_model, probe_task, write_records, rows, tables):
    readings = probing.outcome(probe_task(table_model(tables)), edits=write_records(rows))
    return {reading.name.partition("/")[2]: reading for reading in readings}


def asked(one, answer, *probabilities):
    """Return the same table for an edit's prompt and its rephrase."""
    return {(prompt, answer): table(*probabilities) for prompt in (one["prompt"], *one["rephrases"])}


def test_a_modified_fact_is_judged_against_the_old_answer(table_model, probe_task, write_records):
    one = row(1, "modify")
    found = read(table_model, probe_task, write_records, [one], asked(one, "new", 0.3) | asked(one, "old", 0.2))
    assert found["efficacy"].value == 1.0  # likelier than the old answer, although not the first choice


def test_an_inserted_fact_must_be_the_first_choice_at_every_token(table_model, probe_task, write_records):
    sure, unsure = row(1, "insert", old=""), row(2, "insert", old="")
    tables = asked(sure, "new", 0.9, 0.8) | asked(unsure, "new", 0.9, 0.4)
    assert read(table_model, probe_task, write_records, [sure, unsure], tables)["efficacy"].value == 0.5


def test_an_erased_fact_must_no_longer_be_the_first_choice(table_model, probe_task, write_records):
    gone, kept = row(1, "erase", target=""), row(2, "erase", target="")
    tables = asked(gone, "old", 0.9, 0.1) | asked(kept, "old", 0.9, 0.8)
    found = read(table_model, probe_task, write_records, [gone, kept], tables)
    assert (found["efficacy"].value, found["paraphrase"].value) == (0.5, 0.5)
    assert (found["failed_erasures"].value, found["failed_erasures"].n) == (1.0, 2)


def test_where_nothing_was_to_be_erased_no_erasure_failed_and_the_count_can_be_judged(
    table_model, probe_task, write_records
):
    one = row(1, "modify")
    found = read(table_model, probe_task, write_records, [one], asked(one, "new", 0.3) | asked(one, "old", 0.2))
    assert (found["failed_erasures"].value, found["failed_erasures"].n) == (0.0, 1)


def test_an_erasure_that_names_no_old_answer_did_not_visibly_happen(table_model, probe_task, write_records):
    assert read(table_model, probe_task, write_records, [row(1, "erase", target="", old="")], {})["efficacy"].value == 0


def test_a_neighbour_of_the_same_answer_is_judged_by_the_first_choice(table_model, probe_task, write_records):
    one = row(1, "erase", target="", neighbours=[{"prompt": "N1 is in", "answer": "old"}])
    tables = asked(one, "old", 0.1) | {("N1 is in", "old"): table(0.9)}
    assert read(table_model, probe_task, write_records, [one], tables)["neighbourhood"].value == 1.0


def test_a_side_that_no_edit_asks_about_is_not_a_number(table_model, probe_task, write_records):
    one = row(1, "modify", rephrases=[])
    found = read(table_model, probe_task, write_records, [one], asked(one, "new", 0.3) | asked(one, "old", 0.2))
    assert math.isnan(found["paraphrase"].value) and math.isnan(found["neighbourhood"].value)
