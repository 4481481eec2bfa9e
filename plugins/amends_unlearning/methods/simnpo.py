"""SimNPO (Fan et al., 2024, "Simplicity Prevails"): preference without a reference, by the token.

The margin gamma says how unlikely is unlikely enough: the gradient fades where log p a token falls below -gamma / beta.
At a small gamma that is long before an answer is forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from amends.operation.parameters import check_positive

from .loop import by_token, sequence_logp
from .material import Loss, Material


def simnpo_loss(logp_by_token: Tensor, beta: float, gamma: float) -> Tensor:
    """Length-normalised loss (Fan et al., 2024, eq. 4): the mean of -2 / beta log sigmoid(-beta log p / |y| - gamma).

    Args:
        logp_by_token: Mean log-likelihood a token of each forgotten answer, in nats, shape (batch,).
        beta: Inverse temperature.
        gamma: The margin.
    """
    return -2 / beta * F.logsigmoid(-beta * logp_by_token - gamma).mean()


def objective(material: Material, beta: float, gamma: float) -> Loss:
    """Return the loss; it needs no reference."""
    check_positive("unlearning", beta=beta)

    def loss(places: Sequence[int]) -> Tensor:
        examples = [material.lost[place] for place in places]
        policy = by_token(sequence_logp(material.model, examples, material.layers), examples)
        return simnpo_loss(policy, beta, gamma)

    return loss
