import math

import pytest

from amends import Cancelled
from amends.operation.measuring import mean_reading, person_of, score_in_steps, spread_over_people

HALF = [([0.5, 0.5], 0)]


def row(number, *subjects):
    return {"id": f"{number:02}", "prompt": str(number), "answer": "yes", "subjects": list(subjects)}


def test_a_record_belongs_to_its_first_person_or_to_itself():
    assert person_of(row(1, "s_1", "s_2")) == "s_1"
    assert person_of(row(7)) == "07"


def test_few_records_come_from_many_people_whatever_the_order_of_the_file():
    rows = [row(1, "a"), row(2, "a"), row(3, "a"), row(4, "b"), row(5, "c")]
    chosen = [found["id"] for found in spread_over_people(rows, 4)]
    assert chosen == ["01", "04", "05", "02"]
    assert [found["id"] for found in spread_over_people(reversed(rows), 4)] == chosen
    assert spread_over_people(rows, 0) == spread_over_people([], 4) == []


def test_scoring_reports_progress_and_can_be_cancelled(table_model, probe_task):
    seen = []
    pairs = [("q", "a")] * 40
    model = table_model({("q", "a"): HALF})
    task = probe_task(model, report=lambda *report: seen.append(report))
    assert len(score_in_steps(task, model, pairs, "scoring")) == 40
    assert seen == [(0, 40, "scoring"), (16, 40, "scoring"), (32, 40, "scoring"), (40, 40, "scoring")]
    with pytest.raises(Cancelled):
        score_in_steps(probe_task(model, is_cancelled=lambda: True), model, pairs, "scoring")


def test_a_mean_counts_people_and_knows_its_power():
    reading = mean_reading("a.b/c", [0.2, 0.4, 0.9], ["a", "a", "b"], seed=0, unit="probability", effect=0.2)
    assert reading.value == pytest.approx(0.5)
    assert (reading.n, reading.unit) == (2, "probability")
    assert reading.low == pytest.approx(0.3)
    assert reading.high == pytest.approx(0.9)
    assert reading.power < 0.2
    assert reading.detail == {"records": 3, "effect": 0.2}


def test_the_mean_of_one_person_has_the_widest_interval_and_no_power():
    reading = mean_reading("a.b/c", [0.2, 0.4], ["a", "a"], seed=0, unit="", effect=0.2)
    assert (reading.value, reading.low, reading.high, reading.n, reading.power) == (pytest.approx(0.3), 0, 1, 1, 0)


@pytest.mark.parametrize(("values", "persons"), [([], []), ([0.5, math.nan, 0.1], ["a", "b", "c"])])
def test_no_record_or_no_number_is_a_reading_that_no_policy_allows(values, persons):
    reading = mean_reading("a.b/c", values, persons, seed=0, unit="", effect=0.2)
    assert math.isnan(reading.value)
    assert (reading.low, reading.high, reading.power) == (0, 1, 0)
