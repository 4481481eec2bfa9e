"""Each loss against its paper's equation, written once more in plain floats, and its gradient."""

import math

import pytest
import torch

from amends import BadInput
from amends_unlearning.methods import OPERATIONS, idk, revert, rmu, simnpo, subnetwork, subspace


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


def apart(told, logits):
    """Return the divergence of a model with these logits."""
    return revert.divergence(told, logits.log_softmax(-1).gather(-1, told.tokens))


def test_divergence_with_every_token_kept_but_one_is_that_of_the_whole_distribution():
    torch.manual_seed(0)
    parent, model = torch.randn(3, 7, dtype=torch.double), torch.randn(3, 7, dtype=torch.double)
    found = apart(revert.told_by(parent), model)
    p, q = parent.softmax(-1), model.softmax(-1)
    torch.testing.assert_close(found, (p * (p / q).log()).sum(-1))


def test_divergence_over_few_tokens_is_never_above_that_over_all_and_zero_at_the_parent():
    torch.manual_seed(1)
    parent, model = torch.randn(5, 50, dtype=torch.double), torch.randn(5, 50, dtype=torch.double)
    p, q = parent.softmax(-1), model.softmax(-1)
    few = apart(revert.told_by(parent, most=8), model)
    assert (few <= (p * (p / q).log()).sum(-1) + 1e-12).all() and (few > 0).all()
    torch.testing.assert_close(apart(revert.told_by(parent, most=8), parent), torch.zeros(5, dtype=torch.double))


@pytest.mark.parametrize(
    "loss",
    [
        lambda x: simnpo.simnpo_loss(x, 2.5, 1.0),
        lambda x: idk.dpo_loss(x, torch.tensor([0.2, -1.0, 0.4, 1.0], dtype=torch.double), 0.3),
        lambda x: rmu.steering_loss(x[None], torch.ones(4, dtype=torch.double)),
        lambda x: apart(revert.told_by(torch.arange(4.0, dtype=torch.double)[None]), x[None]).sum(),
    ],
    ids=["simnpo", "idk", "rmu", "revert"],
)
def test_the_gradient_is_right(loss):
    x = torch.tensor([-0.4, -1.0, -2.5, -0.1], dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(loss, x)


@pytest.mark.parametrize("drift", [-2.0, -0.3, 0.4])
def test_a_moved_teacher_has_the_answer_as_much_likelier_and_all_else_in_proportion(drift):
    torch.manual_seed(1)
    logits, answer = torch.randn(5, 9, dtype=torch.float64), torch.tensor([0, 3, 3, 8, 1])
    before, after = logits.log_softmax(-1), revert.tilted(logits, answer, drift).log_softmax(-1)
    at = answer[:, None]
    torch.testing.assert_close(after.gather(-1, at), before.gather(-1, at) + drift)
    others = torch.ones_like(logits).scatter(-1, at, 0).bool()
    moved = (after - before)[others].view(5, 8)
    torch.testing.assert_close(moved, moved[:, :1].expand(5, 8))
    torch.testing.assert_close(after.exp().sum(-1), torch.ones(5, dtype=torch.float64))


def test_a_teacher_that_is_sure_stays_just_below_certainty():
    logits = torch.tensor([[40.0, 0.0, 0.0]])
    assert revert.tilted(logits, torch.tensor([0]), 1.0).softmax(-1)[0, 0] == pytest.approx(1 - revert.SURE)


def test_going_back_needs_a_parent_to_go_back_to(run_task, prepared, write_records):
    from amends_unlearning.people import people, records

    rows = prepared(records(people(2, 5), 5, share=0))
    by_name = {operation.name: operation for operation in OPERATIONS}
    with pytest.raises(BadInput, match="goes back to the model before training, and has none"):
        run_task(by_name["unlearning.revert"], forget=write_records(rows[:2]), retain=write_records(rows[2:]), layers=1)


def test_suppression_is_the_divergence_of_the_uniform_distribution():
    logits = torch.tensor([[0.0, 1.0, -2.0]], dtype=torch.double)
    q = logits.softmax(-1)[0].tolist()
    expected = sum(1 / 3 * math.log((1 / 3) / p) for p in q)
    assert float(subnetwork.suppression(logits)) == pytest.approx(expected)
    assert float(subnetwork.suppression(torch.zeros(1, 5))) == pytest.approx(0.0, abs=1e-6)


def test_a_straight_through_mask_is_hard_and_has_the_sigmoids_gradient():
    logits = torch.tensor([-1.0, 0.5], dtype=torch.double, requires_grad=True)
    mask = subnetwork.straight_through(logits)
    assert mask.tolist() == [0.0, 1.0]
    (slope,) = torch.autograd.grad(mask.sum(), logits)
    assert slope.tolist() == pytest.approx([sigmoid(x) * (1 - sigmoid(x)) for x in (-1.0, 0.5)])


def test_a_part_that_the_forgotten_need_more_than_the_kept_is_pruned_sooner():
    lost, kept = {"a": torch.tensor([4.0, 4.0]), "b": torch.tensor([1.0, 0.0])}, {"a": torch.tensor([0.0, 7.0])}
    kept["b"] = torch.tensor([1.0, 0.0])  # their mean is 2, and no need is taken for less
    found = subnetwork.speeds(lost, kept, 0.25)
    torch.testing.assert_close(found["a"], torch.tensor([1.0, 4 / 7 / 2]))
    torch.testing.assert_close(found["b"], torch.tensor([0.25, 0.0]))
    assert subnetwork.speeds(lost, kept, 0.5)["a"].tolist() == [1.0, 1.0]


def test_a_bitmap_holds_every_bit():
    torch.manual_seed(0)
    pruned = {"007": torch.rand(5, 7) > 0.5, "008": torch.rand(11) > 0.5}
    found = subnetwork.unpacked(subnetwork.packed(pruned))
    assert found.keys() == pruned.keys() and all(torch.equal(found[name], pruned[name]) for name in pruned)


def test_a_projection_takes_the_forgotten_keys_out_and_leaves_orthogonal_ones():
    torch.manual_seed(0)
    kept = torch.randn(8, 200, dtype=torch.double)
    kept[0] = 0.0  # a direction that the kept never use
    lost = torch.zeros(8, 1, dtype=torch.double)
    lost[0] = 2.0
    weight = torch.randn(3, 8, dtype=torch.double)
    metric = subspace.metric_of(kept, 1e-9)
    new = subspace.without(weight, metric, subspace.directions(metric, lost, 1))
    torch.testing.assert_close(new @ lost, torch.zeros(3, 1, dtype=torch.double), atol=1e-6, rtol=0)
    torch.testing.assert_close(new @ kept, weight @ kept, atol=1e-6, rtol=0)


def test_a_projection_is_the_constrained_least_squares_change():
    """Of all W' with W' k = 0, it is the nearest to W in the metric of the kept: W - W k k' M^-1 / (k' M^-1 k)."""
    torch.manual_seed(1)
    kept, key = torch.randn(6, 50, dtype=torch.double), torch.randn(6, 1, dtype=torch.double)
    weight = torch.randn(2, 6, dtype=torch.double)
    metric = subspace.metric_of(kept, 0.1)
    moment = metric.root @ metric.root
    against = torch.linalg.solve(moment, key)
    expected = weight - weight @ key @ against.T / (key.T @ against)
    found = subspace.without(weight, metric, subspace.directions(metric, key, 1))
    torch.testing.assert_close(found, expected)
