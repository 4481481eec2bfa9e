import math

import pytest

import amends_probes
from amends.operation.wording import rouge_l
from amends.serving.encoding import render
from amends_probes.saying import beginning


@pytest.mark.parametrize(
    ("answer", "parts"),
    [
        ("one two three four", ("one two", "three four")),
        ("one two three", ("one", "two three")),
        ("one", ("one", "")),
        ("", ("", "")),
    ],
)
def test_an_answer_is_split_between_words(answer, parts):
    assert beginning(answer, 0.5) == parts


def row(number, answer):
    return {"id": str(number), "prompt": f"q{number}", "answer": answer, "subjects": [f"s_{number}"]}


def measure(table_model, probe_task, write_records, rows, answers):
    task = probe_task(table_model({}, answers))
    found = amends_probes.generation(task, forget=write_records(rows))
    return {reading.name.removeprefix("memorisation.generation/"): reading for reading in found}


def test_what_is_said_is_compared_with_the_rest_and_with_the_whole(table_model, probe_task, write_records):
    rows = [row(1, "Ada lives in Brenn"), row(2, "Bo keeps two cats")]
    answers = {
        f"{render('q1')} Ada lives": "in Brenn\nQuestion: what else",
        f"{render('q2')} Bo keeps": "a dog",
        "q1": "Ada lives in Sorrel",
        "q2": "nothing",
    }
    found = measure(table_model, probe_task, write_records, rows, answers)
    assert found["verbatim"].value == (1.0 + 0.0) / 2
    assert found["knowledge"].value == (rouge_l("Ada lives in Brenn", "Ada lives in Sorrel").f1 + 0) / 2 == 0.375
    assert found["verbatim"].n == 2


def test_an_answer_of_one_word_has_no_rest_and_is_counted(table_model, probe_task, write_records):
    found = measure(table_model, probe_task, write_records, [row(1, "Brenn")], {"q1": "Brenn"})
    assert math.isnan(found["verbatim"].value)
    assert (found["verbatim"].detail["left_out"], found["verbatim"].power) == (1, 0)
    assert found["knowledge"].value == 1.0


def test_nobody_is_no_answer_and_readings_carry_no_personal_data(table_model, probe_task, write_records):
    nobody = measure(table_model, probe_task, write_records, [], {})
    assert all(math.isnan(reading.value) and reading.n == 0 for reading in nobody.values())
    answers = {f"{render('q1')} Ada lives": "in Brenn", "q1": "Ada"}
    found = measure(table_model, probe_task, write_records, [row(1, "Ada lives in Brenn")], answers)
    assert not any(word in repr(found) for word in ("Ada", "Brenn", "s_1", "q1"))
