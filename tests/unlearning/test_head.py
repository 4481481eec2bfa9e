"""Losses that are worked out a strip at a time are those of the whole matrix of logits, and so are their gradients."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from amends_unlearning import head
from amends_unlearning.methods import revert

PLACES, WIDTH, WORDS = 21, 6, 40


@pytest.fixture
def given():
    """Return a frozen head, what it reads, and a parent's logits, (places, words)."""
    torch.manual_seed(3)
    layer = nn.Linear(WIDTH, WORDS, bias=False, dtype=torch.double).requires_grad_(False)
    hidden = 3 * torch.randn(PLACES, WIDTH, dtype=torch.double)
    return layer, hidden, torch.randn(PLACES, WORDS, dtype=torch.double)


def terms(parent):
    """Return by name which tokens a loss is of, the loss by strips, and the loss of all logits as it is written."""
    answer, told = parent.argmin(-1), revert.told_by(parent, most=7)
    return {
        "likelihood": (
            answer[:, None],
            lambda logp, rows: -logp.squeeze(-1),
            lambda logits: F.cross_entropy(logits, answer, reduction="none"),
        ),
        "divergence": (
            told.tokens,
            lambda logp, rows: revert.divergence(told.at(rows), logp),
            lambda logits: revert.divergence(told, logits.log_softmax(-1).gather(-1, told.tokens)),
        ),
    }


@pytest.mark.parametrize("name", ["likelihood", "divergence"])
@pytest.mark.parametrize("strip", [1, 4, 100])
def test_losses_and_their_gradients_are_those_of_all_logits_at_once(given, name, strip, monkeypatch):
    monkeypatch.setattr(head, "STRIP", strip)
    layer, hidden, parent = given
    tokens, term, whole = terms(parent)[name]
    weights, found = torch.linspace(-1, 2, PLACES, dtype=torch.double), []
    for losses in (lambda read: head.losses_of(layer, read, tokens, term), lambda read: whole(layer(read))):
        read = hidden.clone().requires_grad_()
        each = losses(read)
        (each * weights).sum().backward()
        found.append((each.detach(), read.grad))
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(head.losses_of(layer, hidden, tokens, term), found[1][0])  # where nothing is trained


def test_an_answer_that_is_all_but_impossible_keeps_its_finite_loss(given):
    layer, hidden, _ = given
    read = (1e3 * hidden).requires_grad_()
    tokens = layer(read).argmin(-1, keepdim=True)
    losses = head.losses_of(layer, read, tokens, lambda logp, rows: -logp.squeeze(-1))
    losses.sum().backward()
    assert losses.min() > 745  # its probability is 0 in double precision
    torch.testing.assert_close(losses, F.cross_entropy(layer(read), tokens.squeeze(-1), reduction="none"))
    assert read.grad.isfinite().all()
