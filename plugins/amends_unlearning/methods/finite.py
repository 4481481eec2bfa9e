"""Refuse to go on with what is not a number."""

from __future__ import annotations

import torch
from torch import Tensor

from amends import AmendsError


def finite(value: Tensor | float) -> None:
    """Refuse what is not a number.

    Raises:
        AmendsError: It is NaN or infinite.
    """
    if not bool(torch.isfinite(torch.as_tensor(value)).all()):
        raise AmendsError("a loss or a reading of unlearning became NaN or infinite; take a smaller lr")
