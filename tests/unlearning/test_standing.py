"""One person among strangers: ranks and their adjustment against closed forms, and every way of saying nothing."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest

from amends import BadInput
from amends.serving.encoding import render
from amends_unlearning import measure_standing
from amends_unlearning.standing import holm, least_p, p_value, verdict


def rows(who, people, each=2):
    return [
        {"id": f"{who}{person}{n}", "prompt": f"{who}{person}{n}?", "answer": "it", "subjects": [f"s_{who}{person}"],
         "paraphrases": [f"Pray, {who}{person}{n}?"], "openings": ["It is"]}
        for person in range(people)
        for n in range(each)
    ]  # fmt: skip


def tables(records, sure, plain=None):
    """Return a model's tables in which record `at` is answered with the probability `sure(at)`, in every asking."""
    found = {}
    for at, row in enumerate(records):
        for key, likely in (
            ((row["prompt"], "it"), (plain or sure)(at)),
            ((render(row["paraphrases"][0]), "it"), sure(at)),
            ((f"{render(row['prompt'])} It is", "it"), sure(at)),
        ):
            found[key] = [([likely, 1 - likely], 0)] * 3
    return found


@pytest.fixture
def stand(table_model, probe_task, write_records):
    """Return `stand(own, strangers, model, reference=None, **settings)`, the readings by statistic."""

    def run(own, strangers, model, reference=None, **settings):
        task = probe_task(table_model(model), reference and table_model(reference))
        given = {"forget": write_records(own), "control": write_records(strangers), **settings}
        found = measure_standing(task, **measure_standing.check(given))
        return {reading.name.removeprefix("unlearning.standing/"): reading for reading in found}

    return run


def test_a_p_value_is_the_share_that_scores_as_high_with_the_person_s_own():
    others = np.arange(19.0)
    assert p_value(18.5, others) == pytest.approx(1 / 20)
    assert p_value(18.0, others) == pytest.approx(2 / 20)  # a tie counts against a sign
    assert p_value(-1.0, others) == 1.0


def test_p_values_of_one_who_is_like_the_others_are_uniform_over_every_order():
    found = [p_value(float(own), np.array(others, dtype=float)) for own, *others in permutations(range(5))]
    for level in range(1, 6):
        assert np.mean([p <= level / 5 + 1e-12 for p in found]) == pytest.approx(level / 5)


@pytest.mark.parametrize("broken", [(math.nan, [1.0, 2.0]), (1.0, [math.nan, 2.0]), (-math.inf, [1.0]), (1.0, [])])
def test_a_score_that_is_no_number_gives_no_p_value(broken):
    assert math.isnan(p_value(broken[0], np.array(broken[1], dtype=float)))


def test_holm_is_its_published_example_and_never_falls():
    # Holm (1979) by hand: 4 * .005, 3 * .010, 2 * .030, 1 * .040 raised to the one before it
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert all(math.isnan(p) for p in holm([0.01, math.nan]))


def test_the_least_p_value_says_how_many_strangers_it_takes():
    assert least_p(9, 199) == pytest.approx(0.045) and least_p(9, 179) == pytest.approx(0.05)
    assert least_p(9, 178) > 0.05 and least_p(9, 0) == 1.0 and least_p(20, 3) == 1.0


@pytest.mark.parametrize(
    ("p", "least", "said"),
    [(0.01, 0.01, "sign"), (0.05, 0.05, "sign"), (0.2, 0.05, "no sign"), (1.0, 0.06, "cannot say"),
     (math.nan, 0.01, "cannot say")],
)  # fmt: skip
def test_the_words_of_a_verdict(p, least, said):
    assert verdict(p, least, 0.05) == said


def test_somebody_whom_the_model_knows_stands_first_by_every_score(stand):
    own, others = rows("own", 1), rows("other", 199)
    model = tables(own, lambda at: 0.9) | tables(others, lambda at: 0.2 + 0.001 * (at % 97))
    found = stand(own, others, model, tables(own + others, lambda at: 0.3))
    names = {"loss", "minkpp", "zlib", "mink", "reference", "probability", "strength", "paraphrase", "opening"}
    assert set(found) == {"p", "least"} | {f"p_{name}" for name in names}
    assert found["p"].value == found["least"].value == pytest.approx(9 / 200)
    assert (found["p"].n, found["p"].detail["verdict"]) == (199, "sign")
    assert found["p_loss"].detail["unadjusted"] == pytest.approx(1 / 200)


def test_somebody_in_the_middle_shows_no_sign_and_one_below_all_neither(stand):
    others = rows("other", 199)
    for likely in (0.25, 0.01):
        own = rows("own", 1)
        model = tables(own, lambda at, likely=likely: likely) | tables(
            others, lambda at: 0.2 + 0.0001 * (at * 37 % 997)
        )
        found = stand(own, others, model)
        assert found["p"].detail["verdict"] == "no sign" and found["p"].value > 0.05
        assert "p_reference" not in found and found["least"].value == pytest.approx(8 / 200)


def test_what_is_known_in_other_words_alone_is_seen_by_these_words(stand):
    own, others = rows("own", 1), rows("other", 199)
    spread = tables(others, lambda at: 0.2 + 0.0001 * (at * 37 % 997))
    found = stand(own, others, spread | tables(own, lambda at: 0.9, plain=lambda at: 0.21))
    assert found["p"].detail["verdict"] == "sign" and found["p_paraphrase"].value <= 0.05
    assert found["p_loss"].value > 0.05


def test_a_person_s_records_count_as_their_mean(stand):
    own, others = rows("own", 1), rows("other", 199)
    model = tables(own, lambda at: (0.9, 0.05)[at]) | tables(others, lambda at: 0.46 + 0.0001 * (at % 97))
    found = stand(own, others, model)
    assert found["p_probability"].detail["unadjusted"] == pytest.approx(1 / 200)  # (.9 + .05) / 2 is above .4697
    assert found["p_loss"].detail["unadjusted"] == 1.0  # the mean of the logarithms is not


def test_too_few_strangers_cannot_say(stand):
    own, others = rows("own", 1), rows("other", 19)
    model = tables(own, lambda at: 0.9) | tables(others, lambda at: 0.2 + 0.001 * at)
    found = stand(own, others, model)
    assert found["p"].value == found["least"].value == pytest.approx(8 / 20)
    assert found["p"].detail["verdict"] == "cannot say"


def test_strangers_with_fewer_records_are_left_out_and_counted(stand):
    own, others = rows("own", 1), rows("other", 30) + rows("short", 4, each=1)
    found = stand(own, others, tables(own + others, lambda at: 0.2 + 0.001 * at))
    assert (found["p"].n, found["p"].detail["left_out"]) == (30, 4)


@pytest.mark.parametrize(("own", "others"), [(2, 199), (0, 199), (1, 0)])
def test_nobody_several_people_or_no_strangers_give_nothing_that_a_policy_allows(stand, own, others):
    own, others = rows("own", own), rows("other", others)
    found = stand(own, others, tables(own + others, lambda at: 0.2))
    assert set(found) == {"p", "least"}
    assert all(math.isnan(reading.value) and reading.n == 0 for reading in found.values())
    assert found["p"].detail["verdict"] == "cannot say"


def test_an_impossible_answer_gives_nan_and_no_verdict(stand):
    own, others = rows("own", 1), rows("other", 199)
    model = tables(own, lambda at: 0.9) | tables(others, lambda at: 0.0 if at == 5 else 0.2)
    found = stand(own, others, model)
    assert math.isnan(found["p"].value) and found["p"].detail["verdict"] == "cannot say"


def test_a_level_that_is_none_is_refused(stand):
    with pytest.raises(BadInput, match="alpha is 0"):
        stand(rows("own", 1), rows("other", 2), {}, alpha=0.0)
