"""A share that everybody or nobody has keeps an interval."""

import pytest

from amends_detox.shares import share_reading


@pytest.mark.parametrize(("value", "low", "high"), [(0.0, 0.0, 1 - 0.025 ** (1 / 4)), (1.0, 0.025 ** (1 / 4), 1.0)])
def test_none_or_all_of_four_has_the_exact_interval(value, low, high):
    found = share_reading("p/share", [value] * 8, list("aabbccdd"), seed=0, unit="share")
    assert (found.value, found.n) == (value, 4)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_a_share_between_is_resampled_by_record():
    found = share_reading("p/share", [1.0, 0.0, 1.0, 0.0], list("abcd"), seed=0, unit="share")
    assert found.value == 0.5 and 0 <= found.low < 0.5 < found.high <= 1
