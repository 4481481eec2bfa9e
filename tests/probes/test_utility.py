import math
from importlib.resources import files

import pytest

import amends_probes
from amends import host
from amends_probes.utility import neutral_passages


def row(number, person):
    return {"id": str(number), "prompt": f"q{number}", "answer": "a red boat", "subjects": [person]}


def by_name(readings):
    return {reading.name: reading for reading in readings}


def test_retained_records_are_scored_and_some_are_answered(table_model, probe_task, write_records):
    tables = {(f"q{n}", "a red boat"): [([p, 1 - p], 0)] * 3 for n, p in ((1, 0.2), (2, 0.4), (3, 0.9))}
    model = table_model(tables, {"q1": "A boat.", "q2": "Nothing"})
    retain = write_records([row(1, "s_1"), row(2, "s_2"), row(3, "s_3")])
    found = by_name(amends_probes.retain(probe_task(model), retain=retain, generated=2))
    assert found["utility.retain/probability"].value == pytest.approx(0.5)
    assert found["utility.retain/probability"].n == 3
    assert found["utility.retain/rouge_l"].value == pytest.approx((2 / 3 + 0) / 2)
    assert found["utility.retain/rouge_l"].n == 2


def test_at_most_so_many_records_are_scored(table_model, probe_task, write_records):
    tables = {(f"q{n}", "a red boat"): [([0.5, 0.5], 0)] for n in range(9)}
    retain = write_records([row(n, f"s_{n % 3}") for n in range(9)])
    found = amends_probes.retain(probe_task(table_model(tables)), retain=retain, most=4, generated=0)
    assert [reading.detail["records"] for reading in found] == [4, 0]
    assert found[0].n == 3
    assert math.isnan(found[1].value)


def passages(probability):
    return {text: [([probability, 1 - probability], 0)] * 20 for text in neutral_passages()}


def test_perplexity_is_the_inverse_of_a_constant_probability(table_model, probe_task):
    (found,) = amends_probes.perplexity(probe_task(table_model(passages(0.25))))
    assert found.name == "utility.perplexity/perplexity"
    assert (found.value, found.low, found.high) == (pytest.approx(4), pytest.approx(4), pytest.approx(4))
    assert found.n == len(neutral_passages())


def test_the_ratio_compares_with_the_reference(table_model, probe_task):
    task = probe_task(table_model(passages(0.2)), table_model(passages(0.25)))
    ratio = by_name(amends_probes.perplexity(task))["utility.perplexity/ratio"]
    assert (ratio.value, ratio.low, ratio.high) == (pytest.approx(1.25),) * 3
    assert ratio.power > 0.9


def test_a_model_compared_with_itself_has_ratio_one(tiny_version, probe_task):
    from amends.serving import open_version

    model = open_version(tiny_version, host.load([]))
    found = by_name(amends_probes.perplexity(probe_task(model, model)))
    ratio = found["utility.perplexity/ratio"]
    assert ratio.value == ratio.low == ratio.high == 1.0
    perplexity = found["utility.perplexity/perplexity"]
    assert 1 < perplexity.low < perplexity.value < perplexity.high


def test_the_passages_are_there_and_of_some_length():
    found = neutral_passages()
    assert len(found) == 25
    assert all(40 <= len(passage.split()) <= 80 and "\n" not in passage for passage in found)
    assert files("amends_probes").joinpath("texts/neutral.txt").is_file()


def test_the_host_finds_the_probes_and_their_parameters():
    loaded = host.load([("probes", amends_probes)])
    assert not loaded.broken
    assert list(loaded.probes) == [
        "memorisation.extraction",
        "memorisation.generation",
        "utility.perplexity",
        "utility.retain",
        "utility.throughput",
    ]
    assert [parameter.name for parameter in loaded.probe("utility.retain").parameters] == [
        "retain",
        "most",
        "generated",
    ]
