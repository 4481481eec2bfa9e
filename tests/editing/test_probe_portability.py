import math

import pytest

from amends_editing import probing


def edit(number, *questions):
    row = {"id": f"e{number}", "verb": "modify", "subject": "S", "prompt": "S is in", "target": "X"}
    return row | {"portability": [{"kind": kind, "prompt": prompt, "answer": "A"} for kind, prompt in questions]}


def table(*probabilities):
    return [([p, 1 - p], 0) for p in probabilities]


TABLES = {
    ("r1", "A"): table(0.9, 0.8, 0.7),
    ("r2", "A"): table(0.9, 0.2, 0.7),
    ("a1", "A"): table(0.3),
    ("s1", "A"): table(0.9),
    ("v1", "A"): table(0.6, 0.1),
}


def test_each_kind_is_read_exactly_and_by_token(table_model, probe_task, write_records):
    rows = [edit(1, ("reasoning", "r1"), ("reasoning", "r2"), ("alias", "a1")), edit(2, ("reasoning", "r1")), edit(3)]
    rows[2]["portability"] = [{"kind": "specificity", "prompt": "s1", "answer": "A"}]
    found = probing.portability(probe_task(table_model(TABLES)), edits=write_records(rows))
    read = {reading.name.partition("/")[2]: (reading.value, reading.n) for reading in found}
    assert read["reasoning"] == (pytest.approx((0.5 + 1) / 2), 2)
    assert read["reasoning_by_token"] == (pytest.approx(((1 + 2 / 3) / 2 + 1) / 2), 2)
    assert read["alias"] == read["alias_by_token"] == (0.0, 1)
    assert read["specificity"] == read["specificity_by_token"] == (1.0, 1)
    assert found[0].detail["left_out"] == 1


def test_reverse_reads_its_own_kind_alone(table_model, probe_task, write_records):
    rows = [edit(1, ("reverse", "v1"), ("reasoning", "r1")), edit(2, ("reverse", "r1"))]
    found = probing.reverse(probe_task(table_model(TABLES)), edits=write_records(rows))
    assert [(reading.name, reading.value) for reading in found] == [
        ("editing.reverse/accuracy", 0.5),
        ("editing.reverse/accuracy_by_token", 0.75),
    ]


@pytest.mark.parametrize(("probe", "readings"), [(probing.portability, 6), (probing.reverse, 2)])
def test_no_such_question_is_nothing_measured(table_model, probe_task, write_records, probe, readings):
    found = probe(probe_task(table_model({})), edits=write_records([edit(1)]))
    assert len(found) == readings
    assert all(math.isnan(reading.value) and reading.n == 0 for reading in found)
