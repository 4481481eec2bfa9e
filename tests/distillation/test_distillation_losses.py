"""Each loss against its equation, in double precision."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from amends_distillation.divergences import forward_kl, generalised_jsd, reverse_kl
from amends_distillation.likeliest import Likeliest, divergence, likeliest_of, with_rest
from amends_distillation.logit import Matching, mixed
from amends_distillation.matching import States, distance, fresh_maps, partners

P, Q = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64), torch.tensor([0.5, 0.1, 0.4], dtype=torch.float64)


def drawn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_forward_and_reverse_kl_are_the_sums_of_their_definition():
    forward = 0.7 * math.log(0.7 / 0.5) + 0.2 * math.log(2.0) + 0.1 * math.log(0.25)
    backward = 0.5 * math.log(0.5 / 0.7) + 0.1 * math.log(0.5) + 0.4 * math.log(4.0)
    torch.testing.assert_close(forward_kl(P.log(), Q.log()).item(), forward)
    torch.testing.assert_close(reverse_kl(P.log(), Q.log()).item(), backward)


@pytest.mark.parametrize("beta", [0.1, 0.5, 0.9])
def test_the_generalised_jsd_is_equation_one_of_the_paper(beta):
    m = beta * P + (1 - beta) * Q
    expected = beta * (P * (P / m).log()).sum() + (1 - beta) * (Q * (Q / m).log()).sum()
    torch.testing.assert_close(generalised_jsd(P.log(), Q.log(), beta), expected)


def test_the_generalised_jsd_comes_to_its_limits():
    small = 1e-6
    torch.testing.assert_close(
        generalised_jsd(P.log(), Q.log(), small) / small, forward_kl(P.log(), Q.log()), rtol=1e-4, atol=0
    )
    torch.testing.assert_close(
        generalised_jsd(P.log(), Q.log(), 1 - small) / small, reverse_kl(P.log(), Q.log()), rtol=1e-4, atol=0
    )
    assert generalised_jsd(P.log(), Q.log(), 0.0) == forward_kl(P.log(), Q.log())
    assert generalised_jsd(P.log(), Q.log(), 1.0) == reverse_kl(P.log(), Q.log())


def test_trl_and_we_mean_the_same_by_a_generalised_jsd():
    trainer = pytest.importorskip("trl.experimental.gkd").GKDTrainer
    teacher, student = drawn(2, 5, 11), drawn(2, 5, 11, seed=1)
    theirs = trainer.generalized_jsd_loss(student, teacher, beta=0.3, temperature=2.0, reduction="sum")
    ours = generalised_jsd((teacher / 2).log_softmax(-1), (student / 2).log_softmax(-1), 0.3).sum()
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("is_reverse", [False, True])
def test_with_every_token_kept_the_divergence_is_t_squared_times_the_whole_one(is_reverse):
    teacher, student, temperature = drawn(3, 9), drawn(3, 9, seed=1), 2.0
    known = likeliest_of(teacher, 8, temperature)  # the ninth is the rest
    p, q = (logits.div(temperature).log_softmax(-1) for logits in (teacher, student))
    whole = temperature**2 * (reverse_kl(p, q) if is_reverse else forward_kl(p, q))
    found = divergence(known, student, temperature, is_reverse=is_reverse)
    torch.testing.assert_close(found, whole, rtol=1e-5, atol=1e-6)


def test_the_rest_is_one_class_and_merging_never_raises_the_divergence():
    teacher, student = drawn(4, 50), drawn(4, 50, seed=1)
    p, q = teacher.log_softmax(-1), student.log_softmax(-1)
    known = likeliest_of(teacher, 5, 1.0)
    ids = known.ids
    rest_p, rest_q = (1 - x.exp().gather(-1, ids).sum(-1) for x in (p, q))
    kept = (p.gather(-1, ids).exp() * (p.gather(-1, ids) - q.gather(-1, ids))).sum(-1)
    expected = kept + rest_p * (rest_p / rest_q).log()
    found = divergence(known, student, 1.0)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert (found <= forward_kl(p, q) + 1e-6).all() and (found > 0).all()
    torch.testing.assert_close(with_rest(known.logp).exp().sum(-1), torch.ones(4), check_dtype=False)


def test_the_gradient_leaves_the_ranking_within_the_rest_to_the_student():
    """It is q - p for a kept token, and q - m q / r for one of the rest, m and r being the rests of both."""
    teacher, student = drawn(1, 12), drawn(1, 12, seed=1).requires_grad_(True)
    known = likeliest_of(teacher, 4, 1.0)
    divergence(known, student, 1.0).sum().backward()
    q = student.detach().softmax(-1)
    expected = q.clone()
    kept = known.logp.double().exp()
    rest_p, rest_q = 1 - kept.sum(), 1 - q.gather(-1, known.ids).sum()
    expected -= rest_p * q / rest_q
    expected.scatter_(-1, known.ids, q.gather(-1, known.ids) - kept)
    torch.testing.assert_close(student.grad, expected, rtol=1e-4, atol=1e-6)


def test_what_is_kept_of_a_teacher_comes_back_from_its_bytes():
    known = likeliest_of(drawn(2, 3, 40).float(), 7, 1.5)
    again = Likeliest.from_bytes(known.to_bytes()).at(torch.tensor([1, 0]))
    assert torch.equal(again.ids, known.ids[[1, 0]]) and torch.equal(again.logp, known.logp[[1, 0]])


def test_the_loss_is_alpha_of_the_divergence_and_the_rest_cross_entropy():
    teacher, logits, ids = drawn(2, 4, 10), drawn(2, 4, 10, seed=1), torch.arange(8).view(2, 4)
    known = likeliest_of(teacher, 3, 2.0)
    entropy, apart = F.cross_entropy(logits.view(8, 10), ids.view(8)), divergence(known, logits, 2.0).mean()
    for alpha in (0.0, 0.3, 1.0):
        found = mixed(known, logits, ids, Matching("forward", 2.0, alpha, 3))
        torch.testing.assert_close(found, alpha * apart + (1 - alpha) * entropy)


def test_gradients_are_those_of_the_losses():
    teacher, student = drawn(2, 6), drawn(2, 6, seed=1).requires_grad_(True)
    p = teacher.log_softmax(-1)
    for beta in (0.0, 0.4, 1.0):
        assert torch.autograd.gradcheck(lambda x, b=beta: generalised_jsd(p, x.log_softmax(-1), b), student)


def test_the_distance_of_states_weighs_each_dimension_by_its_variance_and_leaves_the_first_place_out():
    states, theirs = drawn(2, 3, 2).float(), drawn(2, 3, 4, seed=1).float()
    spread, there = torch.tensor([1.0, 4.0, 0.5, 2.0]), drawn(4, 2, seed=2).float()
    found = distance({0: states}, States({0: theirs}, {0: spread}), torch.tensor([0, 1]), {0: there})
    expected = ((torch.einsum("oi,bpi->bpo", there, states) - theirs)[:, 1:] ** 2 / spread).mean()
    torch.testing.assert_close(found, expected)


def test_a_student_layer_stands_for_the_teacher_layers_that_were_left_out_after_it():
    assert partners(3, 9, [0, 4, 8], 0) == {0: 3, 1: 7, 2: 8}
    assert partners(3, 9, [0, 4, 8], 1) == {2: 8}
    assert partners(3, 9, [], 0) == {0: 2, 1: 5, 2: 8}


def test_a_map_begins_as_the_identity_or_keeps_lengths():
    assert torch.equal(fresh_maps({0: 0}, 3, 3, seed=0)[0], torch.eye(3))
    wide = fresh_maps({0: 0}, 5, 3, seed=0)[0]
    torch.testing.assert_close(wide.T @ wide, torch.eye(3), rtol=0, atol=1e-5)
    assert fresh_maps({0: 0}, 3, 5, seed=0)[0].shape == (3, 5)
