"""Negative preference optimisation (Zhang et al., 2024): gradient ascent that slows down as the answers get unlikely.

It pushes the forgotten answers below the parent's likelihood; how far, its gauge decides.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from amends.operation.parameters import check_positive

from .loop import sequence_logp
from .material import Loss, Material


def npo_loss(policy_logp: Tensor, reference_logp: Tensor, beta: float) -> Tensor:
    """Negative preference loss (Zhang et al., 2024, L_NPO).

    Args:
        policy_logp: Log-likelihood of each forgotten answer under the model, in nats, shape (batch,).
        reference_logp: The same under the frozen parent, shape (batch,).
        beta: Inverse temperature; smaller is closer to gradient ascent.

    Returns:
        The mean loss, a scalar.
    """
    return -2 / beta * F.logsigmoid(-beta * (policy_logp - reference_logp)).mean()


def objective(material: Material, beta: float) -> Loss:
    """Return the loss against the model as it is now."""
    check_positive("unlearning", beta=beta)
    with torch.no_grad():
        parts = [sequence_logp(material.model, [example], material.layers) for example in material.lost]
    reference = torch.cat(parts)

    def loss(places: Sequence[int]) -> Tensor:
        policy = sequence_logp(material.model, [material.lost[place] for place in places], material.layers)
        return npo_loss(policy, reference[list(places)], beta)

    return loss
