import math

import pytest

from amends_unlearning import measure_equivalence

SURE, EVEN = ([0.9, 0.1], 0), ([0.5, 0.5], 1)


def rows(kind, people, each=2):
    return [
        {"id": f"{kind}{person}{n}", "prompt": f"{kind}{person}{n}", "answer": "it", "wrong": ["no"],
         "subjects": [f"s_{kind}{person}"]}
        for person in range(people)
        for n in range(each)
    ]  # fmt: skip


def tables(records, truth, wrong):
    found = {}
    for at, row in enumerate(records):
        drift = 1e-6 * (at * 7 % 11)  # so that scores are not all tied
        found[row["prompt"], "it"] = [([truth + drift, 1 - truth - drift], 0)] * 4
        found[row["prompt"], "no"] = [([wrong, 1 - wrong], 0)] * 4
    return found


@pytest.fixture
def measure(table_model, probe_task, write_records):
    """Return `measure(forget, control, model, reference=None, **settings)`, the readings by statistic."""

    def run(forget, control, model, reference=None, **settings):
        task = probe_task(table_model(model), reference and table_model(reference))
        given = {"forget": write_records(forget), "control": write_records(control), "half": "all", **settings}
        found = measure_equivalence(task, **measure_equivalence.check(given))
        return {reading.name.removeprefix("unlearning.equivalence/"): reading for reading in found}

    return run


def test_who_is_known_is_not_equivalent_in_any_reading(measure):
    forget, control = rows("f", 20), rows("c", 20)
    never = tables(forget + control, 0.3, 0.3)
    found = measure(forget, control, tables(forget, 0.9, 0.1) | tables(control, 0.3, 0.3), never)
    for name in ("probability", "strength", "exact", "truth", "auc_loss", "auc_mink", "auc_reference",
                 "auc_loss_minus_parent"):  # fmt: skip
        assert found[name].detail["verdict"] == "not equivalent", name
        assert found[name].low > 0.1
    assert "auc_reference_minus_parent" not in found
    assert found["probability"].value == pytest.approx(0.6, abs=1e-4)
    assert found["strength"].value == found["exact"].value == 1.0
    assert found["truth"].value == pytest.approx(0.9 - 0.5, abs=1e-4)
    assert found["auc_loss"].value == 0.5


def test_people_who_were_pushed_away_are_not_equivalent(measure):
    forget, control = rows("f", 20), rows("c", 20)
    found = measure(forget, control, tables(forget, 0.02, 0.02) | tables(control, 0.3, 0.3))
    assert found["probability"].high < -0.1
    assert found["auc_loss"].value == -0.5
    assert found["auc_loss"].detail["verdict"] == "not equivalent"


def test_enough_people_alike_are_equivalent_by_means_and_too_few_by_area(measure):
    forget, control = rows("f", 20), rows("c", 20)
    found = measure(forget, control, tables(forget + control, 0.3, 0.3))
    assert {found[name].detail["verdict"] for name in ("probability", "strength", "exact", "truth")} == {"equivalent"}
    assert found["auc_loss"].detail["verdict"] == "inconclusive"
    wider = measure(forget, control, tables(forget + control, 0.3, 0.3), auc_margin=0.3)
    assert (wider["auc_loss"].detail["verdict"], wider["auc_loss"].detail["margin"]) == ("equivalent", 0.3)
    assert wider["probability"] == found["probability"]
    assert (found["probability"].n, found["probability"].detail["records"]) == (20, 40)
    assert not any("parent" in name or "reference" in name for name in found)


def test_a_stricter_margin_or_more_rungs_need_more_people(measure):
    forget, control = rows("f", 20), rows("c", 20)
    model = tables(forget + control, 0.3, 0.3)
    assert measure(forget, control, model, margin=0.05)["probability"].detail["verdict"] == "inconclusive"
    assert measure(forget, control, model, rungs=5)["probability"].detail["verdict"] == "inconclusive"


def test_half_of_the_records_are_judged(measure):
    forget, control = rows("f", 10, 6), rows("c", 10, 6)
    model = tables(forget + control, 0.3, 0.3)
    counts = [measure(forget, control, model, half=half)["exact"].detail["records"] for half in ("audit", "method")]
    assert sum(counts) == 60
    assert min(counts) > 10


def test_nobody_passes_nothing_and_no_personal_data_is_told(measure):
    forget = rows("f", 2)
    found = measure(forget, [], tables(forget, 0.9, 0.1))
    assert all(math.isnan(reading.value) and reading.power == 0 for reading in found.values())
    assert {reading.detail["verdict"] for reading in found.values()} == {"inconclusive"}
    assert "s_f" not in repr(found)
    assert "f00" not in repr(found)
