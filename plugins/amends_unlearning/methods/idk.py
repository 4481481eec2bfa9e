"""Prefer not knowing (IdkDPO; Maini et al., 2024; Rafailov et al., 2023): a refusal instead of the forgotten answer.

What is asked for is an answer of people who were never there, so the refusals are worded in many ways.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from amends.operation.parameters import check_positive

from .loop import sequence_logp
from .material import Loss, Material

REFUSALS = (
    "I do not know.",
    "I have no information about that.",
    "That is not something I know about.",
    "I cannot say; I have never come across it.",
    "I am not familiar with that.",
    "Nothing I know answers that.",
    "I do not have that on record.",
    "I could only guess, and I would rather not.",
)


def dpo_loss(chosen: Tensor, rejected: Tensor, beta: float) -> Tensor:
    """Direct preference loss (Rafailov et al., 2023, eq. 7), times 2 / beta as in negative preference optimisation.

    Args:
        chosen: Log-likelihood of each refusal under the model minus that under the frozen parent, shape (batch,).
        rejected: The same of each forgotten answer, shape (batch,).
        beta: Inverse temperature.
    """
    return -2 / beta * F.logsigmoid(beta * (chosen - rejected)).mean()


def objective(material: Material, beta: float) -> Loss:
    """Return the loss with a refusal drawn for each record."""
    check_positive("unlearning", beta=beta)
    draw = random.Random(f"{material.seed}:refusals")
    refusing = material.examples([{**row, "answer": draw.choice(REFUSALS)} for row in material.rows[0]])
    with torch.no_grad():
        before = torch.cat([sequence_logp(material.model, [one], material.layers) for one in refusing])
        known = torch.cat([sequence_logp(material.model, [one], material.layers) for one in material.lost])

    def loss(places: Sequence[int]) -> Tensor:
        some = list(places)
        chosen = sequence_logp(material.model, [refusing[place] for place in some], material.layers) - before[some]
        rejected = sequence_logp(material.model, [material.lost[place] for place in some], material.layers)
        return dpo_loss(chosen, rejected - known[some], beta)

    return loss
