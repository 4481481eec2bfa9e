import math

import torch

from amends_unlearning.methods import npo


def test_npo_loss_is_two_log_two_over_beta_at_the_reference():
    logp = torch.tensor([-3.0, -5.0])
    torch.testing.assert_close(npo.npo_loss(logp, logp, beta=0.1), torch.tensor(2 * math.log(2) / 0.1))


def test_npo_loss_is_the_papers_formula():
    policy, reference, beta = torch.tensor([-2.0, -9.0]), torch.tensor([-4.0, -3.0]), 0.5
    expected = sum(2 / beta * math.log(1 + math.exp(beta * (p - r))) for p, r in ((-2, -4), (-9, -3))) / 2
    torch.testing.assert_close(npo.npo_loss(policy, reference, beta), torch.tensor(expected))


def test_npo_loss_has_the_right_gradient():
    policy = torch.tensor([-2.0, -9.0, -0.5], dtype=torch.double, requires_grad=True)
    reference = torch.tensor([-4.0, -3.0, -0.5], dtype=torch.double)
    assert torch.autograd.gradcheck(lambda logp: npo.npo_loss(logp, reference, 0.3), policy)
