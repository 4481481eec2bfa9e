"""A step down a loss is taken whole, or not at all."""

import pytest
import torch

from amends import AmendsError
from amends.operation.descent import adamw, step_down


def test_a_step_clips_what_is_steep_and_moves_by_the_learning_rate():
    weight = torch.zeros(2, requires_grad=True)
    step_down(adamw([weight], lr=0.5), [weight], 1e6 * weight.sum(), clip=1.0)
    torch.testing.assert_close(weight.grad.norm(), torch.tensor(1.0))
    torch.testing.assert_close(weight.detach(), torch.full((2,), -0.5))  # Adam: whatever the slope


@pytest.mark.parametrize("loss_of", [lambda weight: weight.sum() * torch.nan, lambda weight: weight.sqrt().sum()])
def test_a_loss_or_a_gradient_that_is_no_number_changes_nothing(loss_of):
    weight = torch.zeros(2, requires_grad=True)
    with pytest.raises(AmendsError, match="became NaN or infinite"):
        step_down(adamw([weight], lr=0.5), [weight], loss_of(weight))
    assert torch.equal(weight.detach(), torch.zeros(2))
