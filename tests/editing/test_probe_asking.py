import math

import numpy as np
import pytest

from amends_editing import probing
from amends_editing.asking import begins_with, contains, free_reading, in_steps, per_edit, two_sided_power, words_of


@pytest.mark.parametrize(
    ("said", "answer", "begins", "inside"),
    [
        ("Paris, the capital", "paris", True, True),
        ("the United  States.", "United States", True, True),
        ("in Paris", "Paris", False, True),
        ("Parisian", "Paris", False, True),
        ("ＰＡＲＩＳ", "Paris", True, True),
        ("Paris", "Paris France", False, False),
        ("", "Paris", False, False),
        ("anything", "...", False, False),
    ],
)
def test_answers_are_compared_by_their_words(said, answer, begins, inside):
    assert (begins_with(said, answer), contains(said, answer)) == (begins, inside)


def test_an_article_alone_is_a_word():
    assert (words_of("The Who"), words_of("A")) == (["who"], ["a"])


def test_an_edit_without_questions_has_no_share():
    found = per_edit(3, [0, 0, 2], [1.0, 0.0, 1.0])
    assert found[0] == 0.5 and math.isnan(found[1]) and found[2] == 1.0
    assert per_edit(0, [], []).shape == (0,)


def test_asking_reports_each_step_and_can_be_cancelled(probe_task):
    from amends import Cancelled

    seen = []
    task = probe_task(None, report=lambda *report: seen.append(report))
    assert in_steps(task, lambda some: [2 * one for one in some], range(20), "asking") == [2 * n for n in range(20)]
    assert seen == [(0, 20, "asking"), (16, 20, "asking"), (20, 20, "asking")]
    with pytest.raises(Cancelled):
        in_steps(probe_task(None, is_cancelled=lambda: True), list, [1], "asking")


def test_a_free_mean_has_an_interval_only_where_people_can_be_drawn_again():
    found = free_reading("a.b/c", [3.0, 5.0, 10.0], ["x", "x", "y"], seed=0, unit="nats", effect=1.0)
    assert (found.value, found.n, found.low, found.high) == (6.0, 2, 4.0, 10.0)
    one = free_reading("a.b/c", [3.0], ["x"], seed=0, unit="nats", effect=1.0)
    assert (one.value, one.low, one.high, one.power) == (3.0, None, None, 0.0)
    assert math.isnan(free_reading("a.b/c", [], [], seed=0, unit="nats").value)


def test_two_sided_power_is_that_of_the_noncentral_t():
    from scipy.stats import nct, t

    values = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    critical, error = t.ppf(0.975, 4), np.std(values, ddof=1) / math.sqrt(5)
    expected = nct.sf(critical, 4, 2.0 / error)
    assert two_sided_power(values, list("abcde"), 2.0) == pytest.approx(expected)


def test_the_probes_are_named_and_ask_for_edits():
    found = {probe.name: [parameter.name for parameter in probe.parameters] for probe in probing.probes()}
    named = "accuracy drift erasure fluency generation outcome portability reverse success"
    assert sorted(found) == [f"editing.{name}" for name in named.split()]
    assert all(names[0] == "edits" for names in found.values())
