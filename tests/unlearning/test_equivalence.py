import math

import numpy as np
import pytest
from scipy.stats import t

from amends import BadInput
from amends_unlearning.equivalence import Margin, Sample, areas, difference, interval_level, verdict
from amends_unlearning.splitting import half_of


def sample(values, each=1):
    return Sample(np.asarray(values, dtype=float), tuple(str(at // each) for at in range(len(values))))


def read(first, second, margin=0.1, rungs=1, each=1):
    found = sample(first, each), sample(second, each)
    return difference("p/x", *found, Margin(margin, rungs), seed=0, unit="probability")


@pytest.mark.parametrize(("rungs", "level"), [(1, 0.9), (2, 0.95), (5, 0.98)])
def test_rungs_share_the_chance_of_a_wrong_pass(rungs, level):
    assert interval_level(0.05, rungs) == pytest.approx(level)
    assert read([0.1, 0.2], [0.1, 0.3], rungs=rungs).detail["level"] == pytest.approx(level)


def test_more_rungs_widen_the_interval():
    values = np.random.default_rng(0).normal(0.3, 0.1, size=(2, 12))
    one, three = read(*values), read(*values, rungs=3)
    assert three.low < one.low < one.value < one.high < three.high
    assert three.power < one.power


def test_the_interval_holds_welchs():
    generator = np.random.default_rng(1)
    first, second = generator.normal(0.5, 0.3, 12), generator.normal(0.4, 0.2, 9)
    errors = first.var(ddof=1) / 12, second.var(ddof=1) / 9
    freedom = sum(errors) ** 2 / (errors[0] ** 2 / 11 + errors[1] ** 2 / 8)
    reach = t.ppf(0.95, freedom) * math.sqrt(sum(errors))
    found = read(first, second)
    assert found.value == pytest.approx(first.mean() - second.mean())
    assert found.low <= found.value - reach + 1e-12
    assert found.high >= found.value + reach - 1e-12


def test_a_true_difference_of_the_margin_passes_in_at_most_one_of_twenty_cases():
    generator = np.random.default_rng(2)
    passed = 0
    for _ in range(400):
        people = [np.repeat(generator.normal(mean, 0.12, 20), 2) for mean in (0.4, 0.3)]
        noisy = [values + generator.normal(0, 0.05, 40) for values in people]
        passed += read(*noisy, each=2).detail["verdict"] == "equivalent"
    assert passed / 400 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 400)


def test_many_people_who_are_alike_are_equivalent_and_two_are_inconclusive():
    assert read([0.2] * 20, [0.2] * 20).detail["verdict"] == "equivalent"
    few = read([0.2] * 2, [0.2] * 2)
    assert (few.value, few.detail["verdict"]) == (0.0, "inconclusive")
    assert few.power < 0.8
    assert few.low < -0.1 < 0.1 < few.high


def test_the_least_margin_is_the_one_that_so_many_pass_with_power():
    values = np.random.default_rng(5).normal(0.3, 0.15, size=(2, 12))
    least = read(*values).detail["least_margin"]
    assert least > 0.1
    assert read(*values, margin=least + 1e-6).power == pytest.approx(0.8, abs=1e-4)
    assert read(*values, rungs=3).detail["least_margin"] > least
    assert "least_margin" not in read([0.1], [0.1] * 9).detail
    scores = Sample(np.random.default_rng(6).normal(size=(200, 1)), tuple(map(str, range(200))))
    area = areas(["p/auc"], scores, scores, Margin(0.1), seed=0)[0]
    assert areas(["p/auc"], scores, scores, Margin(area.detail["least_margin"] + 1e-6), seed=0)[0].power >= 0.8 - 1e-4


def test_who_is_still_known_is_not_equivalent_however_few():
    assert read([0.9] * 8, [0.1] * 8).detail["verdict"] == "not equivalent"
    assert read([0.1] * 8, [0.9] * 8).detail["verdict"] == "not equivalent"


@pytest.mark.parametrize(("first", "second"), [([], [0.1] * 9), ([0.1] * 9, []), ([0.1], [0.1] * 9)])
def test_nobody_or_one_person_gives_the_widest_interval(first, second):
    found = read(first, second)
    assert (found.low, found.high, found.power, found.detail["verdict"]) == (-1.0, 1.0, 0.0, "inconclusive")
    assert found.n == min(len(first), len(second))
    assert math.isnan(found.value) == (found.n == 0)


def test_no_number_passes_nothing():
    found = read([0.1] * 8 + [math.nan], [0.1] * 9)
    assert math.isnan(found.value)
    assert (found.low, found.high, found.power, found.detail["verdict"]) == (-1.0, 1.0, 0.0, "inconclusive")
    assert verdict(math.nan, 0.0, Margin(0.1), 1.0) == "inconclusive"
    assert verdict(-0.01, 0.01, Margin(0.1), math.nan) == "inconclusive"
    assert verdict(None, None, Margin(0.1), 1.0) == "inconclusive"


def test_an_interval_that_leaves_the_margin_does_not_pass():
    assert verdict(-0.05, 0.1, Margin(0.1), 0.9) == "equivalent"
    assert verdict(-0.05, 0.11, Margin(0.1), 0.9) == "not equivalent"
    assert verdict(-0.05, 0.05, Margin(0.1), 0.79) == "inconclusive"


@pytest.mark.parametrize(("delta", "rungs"), [(0.0, 1), (math.nan, 1), (0.1, 0)])
def test_a_margin_without_room_is_refused(delta, rungs):
    with pytest.raises(BadInput, match="margin"):
        Margin(delta, rungs)


def test_areas_are_read_from_one_half_and_less_the_references():
    generator = np.random.default_rng(3)
    shared, other = generator.normal(size=(200, 1)), generator.normal(size=(200, 1))
    members, others = (Sample(np.hstack([x + shift, x]), tuple(map(str, range(200)))) for x, shift in
                       ((shared, 3.0), (other, 0.0)))  # fmt: skip
    area, shift = areas(["p/auc_loss"], members, others, Margin(0.1), seed=0)
    assert (area.name, shift.name) == ("p/auc_loss", "p/auc_loss_minus_parent")
    assert area.value > 0.45
    assert area.detail["verdict"] == shift.detail["verdict"] == "not equivalent"
    alike = Sample(np.hstack([shared, shared]), members.persons)
    area, shift = areas(["p/auc_loss"], alike, others, Margin(0.1), seed=0)
    assert (shift.value, shift.low, shift.high, shift.power) == (0.0, 0.0, 0.0, 1.0)
    assert area.detail["verdict"] == "equivalent"


def test_an_area_of_few_records_never_claims_to_be_surer_than_independent_records():
    same = Sample(np.zeros((8, 1)), tuple("abcdefgh"))
    area = areas(["p/auc_loss"], same, same, Margin(0.1), seed=0)[0]
    assert (area.value, area.detail["verdict"]) == (0.0, "inconclusive")
    assert area.high == pytest.approx(t.ppf(0.95, 7) * math.sqrt(17 / (12 * 64)))


def test_halves_are_of_the_id_alone_and_about_equal():
    halves = [half_of(str(number)) for number in range(1000)]
    assert halves == [half_of(str(number)) for number in range(1000)]
    assert set(halves) == {"audit", "method"}
    assert 450 < halves.count("audit") < 550
