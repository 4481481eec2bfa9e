import math

import pytest

import amends_unlearning
from amends import host
from amends_unlearning.membership import FRACTION, min_k_plus_plus, read_membership

ONE_HALF = ([0.5, 0.5], 0)


def rows(kind, people, each=2):
    return [
        {"id": f"{kind}{person}{n}", "prompt": f"{kind}{person}{n}", "answer": "it", "subjects": [f"s_{kind}{person}"]}
        for person in range(people)
        for n in range(each)
    ]


def tables(likelihoods):
    """Return `(prompt, answer)` tables where every token of a record has the record's probability."""
    return {(prompt, "it"): [([p, 1 - p], 0)] * 4 for prompt, p in likelihoods.items()}


def spaced(records, low, high):
    """Give the records distinct probabilities between two bounds."""
    steps = max(len(records) - 1, 1)
    return {row["prompt"]: low + (high - low) * at / steps for at, row in enumerate(records)}


@pytest.fixture
def measure(table_model, probe_task, write_records):
    """Return `measure(forget, control, model, reference=None, retain=None)`, the readings by statistic."""

    def run(forget, control, model, reference=None, retain=None):
        task = probe_task(table_model(tables(model)), reference and table_model(tables(reference)))
        kept = None if retain is None else write_records(retain)
        found = read_membership(task, write_records(forget), write_records(control), kept)
        return {reading.name.removeprefix("unlearning.membership/"): reading for reading in found}

    return run


def test_min_k_plus_plus_is_the_mean_of_the_lowest_standardised_tokens(table_model):
    positions = [([0.7, 0.2, 0.1], 0), ([0.7, 0.2, 0.1], 1), ([0.7, 0.2, 0.1], 2), ([0.6, 0.4], 0), ([0.6, 0.4], 1)]
    score = table_model({"x": [*positions, ONE_HALF]}).score(["x"])[0]

    def standard(probabilities, true):
        mean = sum(p * math.log(p) for p in probabilities)
        variance = sum(p * math.log(p) ** 2 for p in probabilities) - mean**2
        return (math.log(probabilities[true]) - mean) / math.sqrt(variance)

    lowest = sorted(standard(*position) for position in positions)[: int(FRACTION * 5)]
    assert min_k_plus_plus(score) == pytest.approx(sum(lowest) / 2, rel=1e-5)


def test_min_k_plus_plus_of_a_certain_model_is_a_number(table_model):
    score = table_model({"x": [([1.0, 0.0], 0)] * 3, "y": [ONE_HALF]}).score(["x", "y"])
    assert min_k_plus_plus(score[0]) == 0.0
    assert min_k_plus_plus(score[1]) == pytest.approx(0.0, abs=1e-6)


def test_a_model_that_remembers_is_told_from_one_that_never_saw(measure):
    forget, control = rows("f", 12), rows("c", 12)
    found = measure(forget, control, spaced(forget, 0.7, 0.9) | spaced(control, 0.1, 0.3))
    assert found["auc_loss"].value == found["auc_minkpp"].value == 1.0
    assert found["advantage"].value == 0.5
    assert found["auc_loss"].n == 12
    never = measure(forget, control, dict.fromkeys([row["prompt"] for row in forget + control], 0.2))
    assert never["auc_loss"].value == 0.5
    assert never["advantage"].value == 0.0


def test_forgetting_too_much_is_as_far_from_the_ideal_as_forgetting_too_little(measure):
    forget, control = rows("f", 12), rows("c", 12)
    over = measure(forget, control, spaced(forget, 0.01, 0.02) | spaced(control, 0.1, 0.3))
    assert over["auc_loss"].value == 0.0
    assert over["advantage"].value == 0.5


def test_text_that_was_easy_before_any_training_is_not_held_against_the_model(measure):
    forget, control = rows("f", 12), rows("c", 12)
    easy = spaced(forget, 0.6, 0.8) | spaced(control, 0.1, 0.3)
    found = measure(forget, control, easy, reference=easy)
    assert found["auc_loss"].value == 1.0
    assert found["auc_loss_minus_parent"].value == found["auc_minkpp_minus_parent"].value == 0.0
    assert (found["advantage"].value, found["advantage"].high) == (0.0, 0.0)
    assert found["advantage"].detail["baseline"] == "reference"


def test_the_retained_are_the_positive_control(measure):
    forget, control, retain = rows("f", 5), rows("c", 5), rows("r", 9)
    every = dict.fromkeys([row["prompt"] for row in forget + control], 0.2) | spaced(retain, 0.8, 0.9)
    found = measure(forget, control, every, retain=retain)
    assert found["auc_loss"].value == 0.5
    assert found["auc_loss_of_retained"].value == 1.0
    assert found["auc_loss_of_retained"].detail["people"] == 9
    assert "auc_loss_of_retained" not in measure(forget, control, every)


@pytest.mark.parametrize(("forgotten", "withheld"), [(1, 8), (8, 1), (1, 1)])
def test_one_person_on_a_side_is_measured_without_power(measure, forgotten, withheld):
    forget, control = rows("f", forgotten), rows("c", withheld)
    model = spaced(forget, 0.7, 0.9) | spaced(control, 0.1, 0.3)
    found = measure(forget, control, model, reference=model)
    assert all(reading.power == 0 and reading.n == 1 for reading in found.values())
    assert (found["auc_loss"].value, found["auc_loss"].low, found["auc_loss"].high) == (1.0, 0.0, 1.0)
    assert (found["auc_loss_minus_parent"].low, found["auc_loss_minus_parent"].high) == (-1.0, 1.0)


def test_nobody_on_a_side_is_a_reading_that_no_policy_allows(measure):
    forget = rows("f", 3)
    found = measure(forget, [], spaced(forget, 0.7, 0.9))
    assert all(math.isnan(reading.value) and reading.n == 0 and reading.power == 0 for reading in found.values())


def test_a_score_that_is_no_number_is_not_hidden(measure):
    forget, control = rows("f", 4), rows("c", 4)
    model = spaced(forget, 0.7, 0.9) | spaced(control, 0.1, 0.3)
    model[forget[3]["prompt"]] = math.nan
    found = measure(forget, control, model)
    assert math.isnan(found["auc_loss"].value)
    assert math.isnan(found["advantage"].value)
    assert (found["auc_loss"].low, found["auc_loss"].high, found["auc_loss"].power) == (0.0, 1.0, 0.0)


def test_readings_carry_no_personal_data(measure):
    forget, control = rows("f", 3), rows("c", 3)
    found = measure(forget, control, spaced(forget, 0.7, 0.9) | spaced(control, 0.1, 0.3))
    assert "s_" not in repr(found)
    assert "f00" not in repr(found)


def test_an_untrained_model_cannot_tell_two_halves_of_the_same_people_apart(tiny_version, probe_task, write_records):
    from amends.serving import open_version

    people = [
        {"id": f"{n:02}", "prompt": f"Who is {n}?", "answer": f"Number {n * 37 % 91}", "subjects": [f"s_{n}"]}
        for n in range(40)
    ]
    model = open_version(tiny_version, host.load([]))
    found = read_membership(probe_task(model, model), write_records(people[::2]), write_records(people[1::2]), None)
    readings = {reading.name.removeprefix("unlearning.membership/"): reading for reading in found}
    assert readings["auc_loss"].low < 0.5 < readings["auc_loss"].high
    assert readings["auc_loss_minus_parent"].value == 0.0
    assert all(0 < reading.power <= 1 for reading in readings.values())


def test_the_host_finds_the_probes_also_after_they_ran():
    loaded = host.load([("unlearning", amends_unlearning)])
    assert not loaded.broken
    assert {"unlearning.equivalence", "unlearning.membership", "unlearning.truth-ratio"} < set(loaded.probes)
    assert sum(name.startswith("unlearning.attack-") for name in loaded.probes) == 13
    assert [(p.name, p.is_required) for p in loaded.probe("unlearning.membership").parameters] == [
        ("forget", True),
        ("control", True),
        ("retain", False),
        ("gradients", False),
    ]
