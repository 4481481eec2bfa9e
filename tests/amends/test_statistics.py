import math

import numpy as np
import pytest
from scipy.stats import binomtest, ks_2samp, mannwhitneyu

from amends.operation.statistics import (
    auc,
    bootstrap_by_person,
    clopper_pearson,
    ks_distance,
    percentiles,
    perplexity,
    perplexity_ratio,
    resample_auc_by_person,
    resample_difference_by_person,
)


def test_auc_counts_pairs_and_half_of_ties():
    assert auc([3, 2], [1, 2]) == (1 + 1 + 1 + 0.5) / 4


def test_auc_equals_mann_whitney_on_scores_with_ties():
    generator = np.random.default_rng(1)
    above, below = generator.integers(0, 9, 70), generator.integers(0, 8, 50)
    assert auc(above, below) == pytest.approx(mannwhitneyu(above, below).statistic / (70 * 50))


def test_auc_of_nobody_or_of_no_number_is_no_answer():
    assert math.isnan(auc([], [1.0]))
    assert math.isnan(auc([1.0], [float("nan")]))
    assert auc([1.0], [-math.inf]) == 1.0


def test_ks_distance_equals_scipy_with_ties_and_infinities():
    generator = np.random.default_rng(2)
    values = generator.integers(0, 6, (40, 2)).astype(float)
    values[0, 0] = values[1, 1] = values[2, 1] = -math.inf
    expected = ks_2samp(values[:, 0], values[:, 1]).statistic
    assert ks_distance(values, np.ones((1, 40)))[0] == pytest.approx(expected)


def test_the_interval_of_a_mean_has_the_width_that_people_give_it():
    people = np.random.default_rng(3).normal(size=400)
    values, persons = np.repeat(people, 5), np.repeat(np.arange(400), 5)
    low, high = bootstrap_by_person(values, persons, seed=0, resamples=4000)
    assert (high - low) / 2 == pytest.approx(1.96 * people.std() / math.sqrt(400), rel=0.05)
    by_item = bootstrap_by_person(values, range(2000), seed=0, resamples=4000)
    assert high - low > 2 * (by_item[1] - by_item[0])


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(4)
    covered = 0
    for run in range(300):
        values = np.repeat(generator.normal(size=40), 3) + generator.normal(size=120)
        low, high = bootstrap_by_person(values, np.repeat(np.arange(40), 3), seed=run, resamples=300)
        covered += low <= 0 <= high
    assert 0.90 <= covered / 300 <= 0.98


def test_an_interval_depends_on_the_seed_alone():
    values, persons = [0.1, 0.5, 0.9, 0.3], ["a", "b", "c", "a"]
    assert bootstrap_by_person(values, persons, seed=7) == bootstrap_by_person(values, persons, seed=7)
    assert bootstrap_by_person(values, persons, seed=7) != bootstrap_by_person(values, persons, seed=8)


def test_one_person_or_a_nan_leaves_no_interval():
    assert bootstrap_by_person([1.0, 2.0], ["a", "a"]) is None
    assert bootstrap_by_person([], []) is None
    assert bootstrap_by_person([1.0, math.nan], ["a", "b"]) is None
    assert percentiles(np.array([1.0, math.inf])) is None


def test_resampled_areas_are_those_of_people_written_out():
    generator = np.random.default_rng(5)
    above, below = generator.normal(size=(6, 1)), generator.normal(size=(9, 1))
    owners, others = [0, 0, 0, 1, 1, 2], [0, 1, 1, 2, 2, 2, 3, 3, 3]
    drawn = resample_auc_by_person(above, owners, below, others, seed=9, resamples=50)
    draw = np.random.default_rng(9)
    counts = draw.multinomial(3, np.full(3, 1 / 3), size=50)
    against = draw.multinomial(4, np.full(4, 1 / 4), size=50)
    for found, left, right in zip(drawn[:, 0], counts, against, strict=True):
        assert found == pytest.approx(auc(np.repeat(above[:, 0], left[owners]), np.repeat(below[:, 0], right[others])))


def test_the_interval_of_an_auc_is_as_wide_as_its_sampling_spread():
    generator = np.random.default_rng(6)

    def sample():
        return np.repeat(generator.normal(size=(40, 1)), 4, axis=0), np.repeat(
            generator.normal(size=(40, 1)), 4, axis=0
        )

    persons = np.repeat(np.arange(40), 4)
    spread = np.std([auc(*(side[:, 0] for side in sample())) for _ in range(1000)])
    above, below = sample()
    errors = resample_auc_by_person(above, persons, below, persons, seed=0, resamples=2000).std()
    assert errors == pytest.approx(spread, rel=0.15)


def test_scores_of_the_same_records_stay_paired():
    above, below = np.arange(8.0)[:, None] % 3, np.arange(8.0)[:, None] % 4
    persons = np.repeat(np.arange(4), 2)
    twice = resample_auc_by_person(np.hstack([above, above]), persons, np.hstack([below, below]), persons)
    assert (twice[:, 0] == twice[:, 1]).all()


def test_two_sides_of_one_person_cannot_be_resampled():
    assert resample_auc_by_person(np.ones((2, 1)), ["a", "a"], np.ones((2, 1)), ["b", "c"]) is None


@pytest.mark.parametrize(("successes", "trials"), [(0, 100), (1, 100), (37, 100), (100, 100), (0, 1)])
def test_clopper_pearson_equals_scipys_exact_interval(successes, trials):
    expected = binomtest(successes, trials).proportion_ci(0.95, "exact")
    assert clopper_pearson(successes, trials) == pytest.approx((expected.low, expected.high))


def test_clopper_pearson_of_no_success_is_the_rule_of_three_and_of_no_trial_says_nothing():
    assert clopper_pearson(0, 100, 0.9)[1] == pytest.approx(1 - 0.05 ** (1 / 100))
    assert clopper_pearson(0, 0) == (0.0, 1.0)


def test_differences_of_means_scatter_as_a_formula_says():
    generator = np.random.default_rng(6)
    first, second = generator.normal(size=300), generator.normal(size=400)
    drawn = resample_difference_by_person(first, range(300), second, range(400), resamples=4000)
    assert drawn.mean() == pytest.approx(first.mean() - second.mean(), abs=0.005)
    assert drawn.std() == pytest.approx(math.sqrt(first.var() / 300 + second.var() / 400), rel=0.05)


@pytest.mark.parametrize(("first", "second"), [([], [1, 2]), ([1, 2], [3]), ([1, math.nan], [1, 2])])
def test_a_difference_without_two_people_a_side_or_with_no_number_has_no_distribution(first, second):
    assert resample_difference_by_person(first, range(len(first)), second, range(len(second))) is None


def test_perplexity_is_exp_of_all_losses_over_all_tokens_and_its_ratio_is_of_two_such():
    losses = np.array([[2.0, 1.0, 3.0, 1.0], [4.0, 2.0, 1.0, 3.0]])
    weights = np.array([[1.0, 1.0], [2.0, 0.0]])
    assert perplexity(losses[:, :2], weights) == pytest.approx(np.exp([6 / 3, 4 / 2]))
    assert perplexity_ratio(losses, weights) == pytest.approx(np.exp([6 / 3 - 4 / 4, 4 / 2 - 6 / 2]))
    assert np.isnan(perplexity(losses[:, :2], np.zeros((1, 2)))).all()
