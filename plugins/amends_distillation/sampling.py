"""Let a student go on by itself, by draws that depend on one seed only."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


@torch.no_grad()  # not inference_mode: what is drawn goes through a student whose words' vectors may learn
def continued(model: Any, ids: Tensor, tokens: int, seed: int) -> Tensor:
    """Return rows with sampled tokens behind them, at temperature 1 and over the whole vocabulary.

    Args:
        model: Who goes on.
        ids: Rows of one length, shape (rows, given).
        tokens: How many tokens each row gets.
        seed: Of the draws, which are made on the CPU whatever the device.

    Returns:
        Shape (rows, given + tokens).
    """
    generator = torch.Generator().manual_seed(seed)
    known, new = None, ids
    for _ in range(tokens):
        told = model(input_ids=new, past_key_values=known, use_cache=True, logits_to_keep=1)
        known = told.past_key_values
        drawn = torch.multinomial(told.logits[:, -1].float().softmax(-1).cpu(), 1, generator=generator)
        new = drawn.to(ids.device)
        ids = torch.cat([ids, new], dim=1)
    return ids
