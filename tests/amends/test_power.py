import math

import numpy as np
import pytest
from scipy.stats import ks_2samp, mannwhitneyu, ttest_1samp, ttest_ind
from scipy.stats import t as student

from amends.operation.power import (
    margin_of_equivalence,
    power_of_auc,
    power_of_equivalence,
    power_of_ks,
    power_of_mean,
    power_of_shift,
)


@pytest.mark.parametrize(("n_pos", "n_neg", "effect"), [(20, 20, 0.2), (15, 40, 0.2), (30, 30, 0.15)])
def test_power_of_auc_is_what_a_simulation_finds(n_pos, n_neg, effect):
    area = 0.5 + effect
    generator = np.random.default_rng(0)
    # of two exponentials the one of scale s wins with chance s / (1 + s): the model behind Hanley and McNeil
    above = generator.exponential(area / (1 - area), size=(2000, n_pos))
    below = generator.exponential(1.0, size=(2000, n_neg))
    p_values = mannwhitneyu(above, below, axis=1, method="asymptotic", use_continuity=False).pvalue
    assert power_of_auc(n_pos, n_neg, effect) == pytest.approx((p_values < 0.05).mean(), abs=0.04)


def test_without_an_effect_the_power_is_the_level():
    assert power_of_auc(50, 50, effect=0.0) == pytest.approx(0.05)
    assert power_of_shift(0.0, 1.0) == pytest.approx(0.05)


@pytest.mark.parametrize(("n_pos", "n_neg"), [(0, 9), (1, 100), (100, 1), (2, 2)])
def test_too_few_people_have_no_power(n_pos, n_neg):
    assert power_of_auc(n_pos, n_neg) == 0.0


def test_more_people_have_more_power():
    powers = [power_of_auc(n, n) for n in range(4, 60)]
    assert powers == sorted(powers)
    assert powers[-1] > 0.95


def test_power_of_a_mean_is_what_a_simulation_finds():
    samples = np.random.default_rng(1).normal(0.2, 0.3, size=(4000, 12))
    found = (ttest_1samp(samples, 0, axis=1, alternative="greater").pvalue < 0.05).mean()
    assert power_of_mean(12, 0.2, 0.3) == pytest.approx(found, abs=0.02)


def test_power_of_a_difference_of_means_is_what_a_simulation_finds():
    generator = np.random.default_rng(2)
    above, below = generator.normal(0.2, 0.3, size=(4000, 12)), generator.normal(0.0, 0.3, size=(4000, 20))
    found = (ttest_ind(above, below, axis=1, alternative="greater").pvalue < 0.05).mean()
    assert power_of_mean(12, 0.2, 0.3, n_other=20) == pytest.approx(found, abs=0.02)


def test_two_people_who_agree_prove_little():
    assert power_of_mean(2, 0.1, deviation=0.0) < 0.3
    assert power_of_mean(1, 0.1, deviation=0.0) == 0.0
    assert power_of_mean(9, 0.1, deviation=math.nan) == 0.0


def test_power_of_a_shift_falls_with_its_error():
    assert power_of_shift(0.2, 0.0) == 1.0
    assert power_of_shift(0.2, 0.2 / 1.959964) == pytest.approx(0.5, abs=1e-3)
    assert power_of_shift(0.2, math.nan) == 0.0


def test_power_of_the_ks_test_is_near_what_scipy_finds():
    generator = np.random.default_rng(3)
    above = generator.normal(2 * 0.5244, 1, size=(300, 40))  # true distance 0.4
    below = generator.normal(size=(300, 40))
    found = np.mean([ks_2samp(a, b).pvalue < 0.05 for a, b in zip(above, below, strict=True)])
    assert power_of_ks(40, 0.4) == pytest.approx(found, abs=0.06)
    assert power_of_ks(1) == power_of_ks(2) == 0.0


@pytest.mark.parametrize("deviation", [0.05, 0.08, 0.12])
def test_power_of_equivalence_is_what_a_simulation_finds(deviation):
    generator = np.random.default_rng(4)
    differences = generator.normal(0, deviation, size=(20000, 10))
    error = differences.std(axis=1, ddof=1) / math.sqrt(10)
    reach = student.ppf(0.95, 9) * error
    found = (np.abs(differences.mean(axis=1)) + reach < 0.1).mean()
    assert power_of_equivalence(0.1, deviation / math.sqrt(10), 9) == pytest.approx(found, abs=0.06)


def test_power_of_equivalence_of_what_has_no_error_or_no_finite_one():
    assert power_of_equivalence(0.1, 0.0, 5) == 1.0
    assert power_of_equivalence(0.1, math.nan, 5) == power_of_equivalence(0.1, 1.0, 5) == 0.0
    assert power_of_equivalence(0.1, 0.1 / (1.6448536 + 1.2815516)) == pytest.approx(0.8, abs=1e-6)


@pytest.mark.parametrize(("error", "freedom", "alpha"), [(0.03, 9, 0.05), (0.2, 40, 0.0125), (0.05, math.inf, 0.05)])
def test_the_margin_of_a_power_has_that_power(error, freedom, alpha):
    margin = margin_of_equivalence(0.8, error, freedom, alpha)
    assert power_of_equivalence(margin, error, freedom, alpha) == pytest.approx(0.8, abs=1e-9)
    assert power_of_equivalence(0.99 * margin, error, freedom, alpha) < 0.8


def test_no_margin_is_wide_enough_without_a_finite_error():
    assert margin_of_equivalence(0.8, math.nan, 5) == margin_of_equivalence(0.8, 0.1, 0) == math.inf
    assert margin_of_equivalence(0.8, 0.0, 5) == 0.0
    assert margin_of_equivalence(0.8, 1.0) == pytest.approx(1.6448536 + 1.2815516, abs=1e-6)
