"""How far a student's distribution is from its teacher's: forward, reverse, and what lies between them."""

from __future__ import annotations

import math

from torch import Tensor


def forward_kl(teacher: Tensor, student: Tensor) -> Tensor:
    """Return KL(p || q), which makes the student cover all that the teacher says (Hinton et al., 2015).

    Args:
        teacher: Log-probabilities log p, in nats, shape (..., vocabulary).
        student: Log-probabilities log q, shape (..., vocabulary).

    Returns:
        Nats, shape (...).
    """
    return (teacher.exp() * (teacher - student)).sum(-1)


def reverse_kl(teacher: Tensor, student: Tensor) -> Tensor:
    """Return KL(q || p), which keeps the student to what the teacher finds likely (MiniLLM, Gu et al., 2024).

    Args:
        teacher: Log-probabilities log p, in nats, shape (..., vocabulary).
        student: Log-probabilities log q, shape (..., vocabulary).

    Returns:
        Nats, shape (...).
    """
    return forward_kl(student, teacher)


def generalised_jsd(teacher: Tensor, student: Tensor, beta: float) -> Tensor:
    """Return the generalised Jensen-Shannon divergence (Agarwal et al., 2024, arXiv 2306.13649, eq. 1).

    With m = beta p + (1 - beta) q it is beta KL(p || m) + (1 - beta) KL(q || m); divided by beta, or by 1 - beta, it
    comes to forward or reverse KL as beta goes to 0 or to 1. At just 0 and 1 this returns these limits, as the paper
    has it, because the divergence itself is zero there.

    Args:
        teacher: Log-probabilities log p, in nats, shape (..., vocabulary).
        student: Log-probabilities log q, shape (..., vocabulary).
        beta: Weight of the teacher in the mixture, from 0 to 1.

    Returns:
        Nats, shape (...).
    """
    if beta == 0.0:
        return forward_kl(teacher, student)
    if beta == 1.0:
        return reverse_kl(teacher, student)
    mixed = (teacher + math.log(beta)).logaddexp(student + math.log1p(-beta))
    return beta * forward_kl(teacher, mixed) + (1 - beta) * forward_kl(student, mixed)
