"""What a setting of an operation may not be."""

import math

import pytest

from amends import BadInput
from amends.operation.parameters import check_positive


@pytest.mark.parametrize("value", [0, -0.5, math.nan, -math.inf])
def test_a_setting_that_is_not_above_zero_is_named_and_nan_is_none(value):
    with pytest.raises(BadInput, match=f"lr is {value}; training needs it above zero"):
        check_positive("training", steps=3, lr=value)


def test_settings_above_zero_pass():
    check_positive("training", steps=1, lr=1e-12)
