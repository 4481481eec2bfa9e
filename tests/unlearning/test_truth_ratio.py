import json
import math

import numpy as np
import pytest
from scipy.stats import ks_2samp

from amends import host
from amends_unlearning.truth_ratio import (
    closeness,
    forget_quality,
    log_truth_ratio,
    read_truth_ratio,
    share_of_truth,
)

GOLDEN = "unlearning/tofu/ref_llama2-7b_retain99_eval_log_aggregated.json"


@pytest.fixture
def logs(data):
    """Return the published per-item losses and truth ratios of a model that never saw the forget set."""
    return json.loads((data / GOLDEN).read_text())


def ratios_of(log):
    items = sorted(log["truth_ratio"], key=int)
    return np.array([log_truth_ratio(log["avg_paraphrased_loss"][i], log["average_perturb_loss"][i]) for i in items])


def test_truth_ratios_equal_the_published_ones(logs):
    for log in logs.values():
        published = [log["truth_ratio"][item] for item in sorted(log["truth_ratio"], key=int)]
        np.testing.assert_allclose(np.exp(ratios_of(log)), published, rtol=1e-5)


def test_aggregates_equal_their_formulas_on_the_published_ratios(logs):
    log = logs["eval_log_forget.json"]
    published = np.array([log["truth_ratio"][item] for item in sorted(log["truth_ratio"], key=int)])
    assert closeness(ratios_of(log)).mean() == pytest.approx(np.minimum(published, 1 / published).mean(), rel=1e-5)
    truth = np.exp([-log["avg_paraphrased_loss"][item] for item in sorted(log["truth_ratio"], key=int)])
    wrong = np.exp([-np.mean(log["average_perturb_loss"][item]) for item in sorted(log["truth_ratio"], key=int)])
    np.testing.assert_allclose(share_of_truth(ratios_of(log)), truth / (truth + wrong), rtol=1e-5)


def test_forget_quality_of_the_oracle_against_itself_is_one(logs):
    ratios = ratios_of(logs["eval_log_forget.json"])
    assert len(ratios) == 40
    assert forget_quality(ratios, ratios) == (0.0, 1.0)


def test_forget_quality_equals_the_published_test_on_the_published_ratios(logs):
    forgotten, retained = logs["eval_log_forget.json"], logs["eval_log.json"]
    expected = ks_2samp(list(forgotten["truth_ratio"].values()), list(retained["truth_ratio"].values()))
    found = forget_quality(ratios_of(forgotten), ratios_of(retained))
    assert found == pytest.approx((expected.statistic, expected.pvalue), rel=1e-6)
    assert found[1] < 1e-3


def test_forget_quality_of_published_ratios_equals_a_closed_form(logs):
    """For two samples of n, P(D >= h / n) = 2 sum_j (-1)^(j+1) C(2n, n - j h) / C(2n, n) (Gnedenko, Korolyuk, 1951)."""
    published = logs["eval_log_forget.json"]["truth_ratio"], logs["eval_log.json"]["truth_ratio"]
    forgotten, retained = (np.array([log[str(item)] for item in range(40)]) for log in published)
    grid = np.concatenate([forgotten, retained])
    steps = [abs(int((forgotten <= at).sum()) - int((retained <= at).sum())) for at in grid]
    far = max(steps)
    terms = [(-1) ** (j + 1) * math.comb(80, 40 - j * far) for j in range(1, 40 // far + 1)]
    found = forget_quality(ratios_of(logs["eval_log_forget.json"])[:40], ratios_of(logs["eval_log.json"])[:40])
    assert found == pytest.approx((far / 40, 2 * sum(terms) / math.comb(80, 40)), rel=1e-9)


def test_extreme_ratios_neither_overflow_nor_vanish():
    extreme = np.array([-math.inf, -2000.0, 0.0, 2000.0, math.inf])
    np.testing.assert_array_equal(closeness(extreme), [0, 0, 1, 0, 0])
    np.testing.assert_array_equal(share_of_truth(extreme), [1, 1, 0.5, 0, 0])


def test_forget_quality_of_nothing_is_no_answer():
    assert all(math.isnan(value) for value in forget_quality(np.array([]), np.array([])))
    assert all(math.isnan(value) for value in forget_quality(np.array([1.0, math.nan]), np.array([1.0, 2.0])))


def rows(people, each=2):
    return [
        {
            "id": f"{person}{n}",
            "prompt": f"q{person}{n}",
            "answer": "true",
            "wrong": ["no", "nil"],
            "subjects": [f"s_{person}"],
        }
        for person in range(people)
        for n in range(each)
    ]


def tables(records, truth, wrong):
    """Return tables where every token of the truth and of both wrong answers has a given probability."""
    found = {}
    for row in records:
        found[row["prompt"], "true"] = [([truth, 1 - truth], 0)] * 3
        for answer, p in zip(("no", "nil"), wrong, strict=True):
            found[row["prompt"], answer] = [([p, 1 - p], 0)] * 5
    return found


def by_name(readings):
    return {reading.name.removeprefix("unlearning.truth-ratio/"): reading for reading in readings}


def test_the_probe_reads_what_the_tables_say(table_model, probe_task, write_records):
    records = rows(4)
    model = table_model(tables(records, 0.8, (0.2, 0.05)))
    found = by_name(read_truth_ratio(probe_task(model), write_records(records)))
    ratio = math.sqrt(0.2 * 0.05) / 0.8
    assert found["mean"].value == pytest.approx(ratio)
    assert found["prob_mean"].value == pytest.approx(1 / (1 + ratio))
    assert found["mean"].n == 4
    assert set(found) == {"mean", "prob_mean"}


def test_a_reference_adds_distance_and_p(table_model, probe_task, write_records):
    records = rows(10)
    knows, never = table_model(tables(records, 0.8, (0.2, 0.05))), table_model(tables(records, 0.2, (0.2, 0.2)))
    forget = write_records(records)
    found = by_name(read_truth_ratio(probe_task(knows, never), forget))
    assert (found["ks_d"].value, found["ks_d"].low, found["ks_d"].high) == (1.0, 1.0, 1.0)
    assert found["ks_p"].value == pytest.approx(ks_2samp([0.0] * 20, [1.0] * 20).pvalue)
    assert found["ks_p"].n == found["ks_d"].n == 10
    same = by_name(read_truth_ratio(probe_task(never, never), forget))
    assert (same["ks_d"].value, same["ks_p"].value) == (0.0, 1.0)
    assert 0 < same["ks_p"].power < 0.5


def test_one_person_is_measured_without_power(table_model, probe_task, write_records):
    records = rows(1)
    model = table_model(tables(records, 0.8, (0.2, 0.05)))
    found = by_name(read_truth_ratio(probe_task(model, model), write_records(records)))
    assert all(reading.power == 0 and reading.n == 1 for reading in found.values())
    assert (found["ks_d"].low, found["ks_d"].high) == (found["mean"].low, found["mean"].high) == (0.0, 1.0)


def test_records_without_wrong_answers_are_left_out_and_counted(table_model, probe_task, write_records):
    records = rows(2)
    del records[0]["wrong"]
    model = table_model(tables(records, 0.8, (0.2, 0.05)))
    found = by_name(read_truth_ratio(probe_task(model), write_records(records)))
    assert (found["mean"].detail["records"], found["mean"].detail["left_out"]) == (3, 1)
    nothing = read_truth_ratio(probe_task(model, model), write_records(records[:1]))
    assert len(nothing) == 4
    assert all(math.isnan(reading.value) and reading.n == 0 and reading.power == 0 for reading in nothing)


def test_a_served_model_is_at_distance_zero_from_itself(tiny_version, probe_task, write_records):
    from amends.serving import open_version

    model = open_version(tiny_version, host.load([]))
    found = by_name(read_truth_ratio(probe_task(model, model), write_records(rows(3))))
    assert (found["ks_d"].value, found["ks_p"].value) == (0.0, 1.0)
    assert 0 < found["mean"].value < 1
