"""Losses over a whole vocabulary, some places at a time: of all arrays of that width, the logits alone are kept.

A loss at a place depends on nothing but the log-probabilities of some tokens there. So its slope is worked out at once
and taken back through the head, and the logits are gone before the layers' backward pass begins:
with g the slope by those log-probabilities, that by the logits is g, where the tokens are, less (sum of g) softmax.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

STRIP = 16  # places whose losses are worked out at once; what they need lies in a cache

Term = Callable[[Tensor, slice], Tensor]
"""From the tokens' log-probabilities in nats, shape (some, tokens), and at which of all places, to losses, (some,)."""


def strips(places: int) -> list[slice]:
    """Return all of so many places, a strip each."""
    return [slice(start, min(start + STRIP, places)) for start in range(0, places, STRIP)]


def losses_of(head: nn.Linear, hidden: Tensor, tokens: Tensor, term: Term) -> Tensor:
    """Return the loss at each place, shape (places,).

    Args:
        head: Frozen.
        hidden: What it reads, shape (places, width).
        tokens: Which log-probabilities the loss is of, shape (places, tokens).
        term: The loss.
    """
    if torch.is_grad_enabled() and hidden.requires_grad:
        found: Tensor = _Losses.apply(hidden, head, tokens, term)  # type: ignore[no-untyped-call]  # as torch leaves it
        return found
    logits = head(hidden)
    return torch.cat([term(_logp(logits[rows], tokens[rows]), rows) for rows in strips(len(logits))])


def _logp(logits: Tensor, tokens: Tensor) -> Tensor:
    return logits.gather(-1, tokens) - logits.logsumexp(-1, keepdim=True)


class _Losses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: nn.Linear, tokens: Tensor, term: Term) -> Tensor:
        logits, found = head(hidden), []
        shares = torch.empty_like(logits[:STRIP])
        for rows in strips(len(logits)):
            some, at = logits[rows], tokens[rows]
            share = torch.softmax(some, -1, out=shares[: len(some)])
            whole = some.amax(-1, keepdim=True) - share.amax(-1, keepdim=True).log()  # log of the sum of exponentials
            with torch.enable_grad():
                logp = (some.gather(-1, at) - whole).requires_grad_()
                losses = term(logp, rows)
                (slope,) = torch.autograd.grad(losses.sum(), logp)
            torch.mul(share, -slope.sum(-1, keepdim=True), out=some).scatter_add_(-1, at, slope)
            found.append(losses.detach())
        ctx.save_for_backward(logits @ head.weight)
        return torch.cat(found)

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor, None, None, None]:
        (slopes,) = ctx.saved_tensors
        return given[0][:, None] * slopes, None, None, None
