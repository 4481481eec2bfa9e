"""Each loss against its paper's equation, written once more in plain floats, and its gradient."""

import math

import pytest
import torch

from amends import BadInput
from amends_unlearning.methods import OPERATIONS, idk, revert, rmu, simnpo


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_simnpo_is_the_papers_formula():
    found = simnpo.simnpo_loss(torch.tensor([-0.5, -2.0], dtype=torch.double), beta=2.5, gamma=1.5)
    expected = -2 / 2.5 * sum(math.log(sigmoid(-2.5 * logp - 1.5)) for logp in (-0.5, -2.0)) / 2
    assert float(found) == pytest.approx(expected)


def test_simnpo_fades_once_an_answer_is_as_unlikely_as_the_margin_asks():
    logp = torch.tensor([-0.1, -2.0, -6.0], dtype=torch.double, requires_grad=True)
    (slope,) = torch.autograd.grad(simnpo.simnpo_loss(logp, beta=2.5, gamma=5.0), logp)
    assert slope[0] > slope[1] > slope[2] and float(slope[1]) == pytest.approx(2 / 3 * sigmoid(0.0))


def test_preferring_a_refusal_is_the_papers_formula():
    chosen, rejected = torch.tensor([0.5, -1.0], dtype=torch.double), torch.tensor([-2.0, 0.3], dtype=torch.double)
    expected = -2 / 0.1 * sum(math.log(sigmoid(0.1 * (c - r))) for c, r in ((0.5, -2.0), (-1.0, 0.3))) / 2
    assert float(idk.dpo_loss(chosen, rejected, 0.1)) == pytest.approx(expected)


def test_steering_is_the_mean_squared_distance():
    inner, target = torch.tensor([[1.0, 2.0], [3.0, 5.0]]), torch.tensor([0.0, 1.0])
    assert float(rmu.steering_loss(inner, target)) == pytest.approx((1 + 1 + 9 + 16) / 4)


def test_divergence_with_every_token_kept_but_one_is_that_of_the_whole_distribution():
    torch.manual_seed(0)
    parent, model = torch.randn(3, 7, dtype=torch.double), torch.randn(3, 7, dtype=torch.double)
    found = revert.divergence(revert.told_by(parent), model)
    p, q = parent.softmax(-1), model.softmax(-1)
    torch.testing.assert_close(found, (p * (p / q).log()).sum(-1))


def test_divergence_over_few_tokens_is_never_above_that_over_all_and_zero_at_the_parent():
    torch.manual_seed(1)
    parent, model = torch.randn(5, 50, dtype=torch.double), torch.randn(5, 50, dtype=torch.double)
    p, q = parent.softmax(-1), model.softmax(-1)
    few = revert.divergence(revert.told_by(parent, most=8), model)
    assert (few <= (p * (p / q).log()).sum(-1) + 1e-12).all() and (few > 0).all()
    torch.testing.assert_close(
        revert.divergence(revert.told_by(parent, most=8), parent), torch.zeros(5, dtype=torch.double)
    )


@pytest.mark.parametrize(
    "loss",
    [
        lambda x: simnpo.simnpo_loss(x, 2.5, 1.0),
        lambda x: idk.dpo_loss(x, torch.tensor([0.2, -1.0, 0.4, 1.0], dtype=torch.double), 0.3),
        lambda x: rmu.steering_loss(x[None], torch.ones(4, dtype=torch.double)),
        lambda x: revert.divergence(revert.told_by(torch.arange(4.0, dtype=torch.double)[None]), x[None]).sum(),
    ],
    ids=["simnpo", "idk", "rmu", "revert"],
)
def test_the_gradient_is_right(loss):
    x = torch.tensor([-0.4, -1.0, -2.5, -0.1], dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(loss, x)


def test_going_back_needs_a_parent_to_go_back_to(run_task, prepared, write_records):
    from amends_unlearning.people import people, records

    rows = prepared(records(people(2, 5), 5, share=0))
    by_name = {operation.name: operation for operation in OPERATIONS}
    with pytest.raises(BadInput, match="goes back to the model before training, and has none"):
        run_task(by_name["unlearning.revert"], forget=write_records(rows[:2]), retain=write_records(rows[2:]), layers=1)
