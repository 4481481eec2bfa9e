"""Model utility on tables that say what each measure is, and on the published log of a model that never saw anybody."""

import json
import math

import numpy as np
import pytest
from scipy.stats import hmean

from amends_unlearning.truth_ratio import log_truth_ratio
from amends_unlearning.utility import harmonic, preference, read_utility

GOLDEN = "unlearning/tofu/ref_llama2-7b_retain99_eval_log_aggregated.json"
SETS = {
    "eval_log.json": "avg_gt_loss",
    "eval_real_author_wo_options.json": "normalized_gt_loss",
    "eval_real_world_wo_options.json": "normalized_gt_loss",
}


def measured(log, loss):
    """Return probability, ROUGE-L recall and preference of each item of a published log, shape (items, 3)."""
    items = sorted(log["truth_ratio"], key=int)
    ratios = [log_truth_ratio(log["avg_paraphrased_loss"][i], log["average_perturb_loss"][i]) for i in items]
    likely = [math.exp(-log[loss][item]) for item in items]
    return np.stack([likely, [log["rougeL_recall"][item] for item in items], preference(np.array(ratios))], axis=1)


def published(log, loss):
    """Return the same three as TOFU's own aggregation has them, from the log's own truth ratios, averaged."""
    ratios = np.array(list(log["truth_ratio"].values()))
    likely = np.exp(-np.array(list(log[loss].values())))
    return [likely.mean(), np.mean(list(log["rougeL_recall"].values())), np.maximum(0, 1 - ratios).mean()]


def test_the_utility_of_the_published_log_is_that_of_its_own_ratios(data):
    """Nine means; another training of that model is published with .63 (locuslab/open-unlearning, docs/repro.md)."""
    logs = json.loads((data / GOLDEN).read_text())
    nine = np.concatenate([measured(logs[name], loss).mean(axis=0) for name, loss in SETS.items()])
    found = float(harmonic(nine[None], np.ones((1, 1)))[0])
    expected = hmean([value for name, loss in SETS.items() for value in published(logs[name], loss)])
    assert found == pytest.approx(expected, rel=1e-5)
    assert found == pytest.approx(0.63, abs=0.015)


def test_preference_is_one_minus_the_ratio_and_never_below_zero():
    np.testing.assert_allclose(preference(np.log([0.25, 1.0, 4.0])), [0.75, 0.0, 0.0])
    assert preference(np.array([-2000.0, 2000.0])).tolist() == [1.0, 0.0]


def test_one_measure_of_zero_is_a_utility_of_zero():
    values = np.array([[0.9, 0.8, 0.0], [0.7, 0.6, 0.0]])
    assert harmonic(values, np.ones((1, 2))).tolist() == [0.0]


def row(number, person, **more):
    return {"id": str(number), "prompt": f"q{number}", "answer": "a red boat", "subjects": [person], **more}


@pytest.fixture
def utility(table_model, probe_task, write_records):
    """Return `utility(rows, most=16) -> readings` of a model that gives truths .8 a token and wrong answers .2."""

    def read(rows, most=16):
        tables = {(found["prompt"], "a red boat"): [([0.8, 0.2], 0)] * 3 for found in rows}
        tables |= {(found["prompt"], "a tin can"): [([0.2, 0.8], 0)] * 3 for found in rows}
        said = {found["prompt"]: "A boat." for found in rows}
        found = read_utility(probe_task(table_model(tables, said)), write_records(rows), most)
        return {reading.name.removeprefix("unlearning.utility/"): reading for reading in found}

    return read


def test_the_probe_reads_three_measures_and_their_harmonic(utility):
    found = utility([row(number, f"s_{number % 3}", wrong=["a tin can"]) for number in range(6)])
    assert [found[name].value for name in ("probability", "rouge_l", "truth")] == pytest.approx([0.8, 2 / 3, 0.75])
    assert found["harmonic"].value == pytest.approx(3 / (1 / 0.8 + 3 / 2 + 1 / 0.75))
    assert (found["harmonic"].n, found["harmonic"].low) == (3, pytest.approx(found["harmonic"].value))


def test_records_without_wrong_answers_are_counted_and_none_is_no_answer(utility):
    rows = [row(number, f"s_{number}", **({"wrong": ["a tin can"]} if number else {})) for number in range(4)]
    found = utility(rows, most=2)
    assert (found["harmonic"].detail["left_out"], found["truth"].detail["records"]) == (1, 2)
    nothing = utility(rows[:1])
    assert len(nothing) == 4 and all(math.isnan(r.value) and r.n == 0 and r.power == 0 for r in nothing.values())
