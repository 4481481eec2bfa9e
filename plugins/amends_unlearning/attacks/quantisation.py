"""Round the weights to a few bits: small changes vanish, and what they hid comes back (Zhang et al., 2024).

Round-to-nearest in groups of a row's inputs, between the group's least and largest weight. Embeddings, the head and
attachments keep their bits, as in the usual formats.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from amends import Reading

from ..gradients import gives_gradients
from .asking import likeliest, plainly
from .judging import Sides, unremembered

BITS = (8, 4)


def run(sides: Sides, group: int) -> list[Reading]:
    """Ask as it was trained, with the weights in 8 and in 4 bits."""
    model = sides.task.model
    if not gives_gradients(model):
        return sides.unread("what is served gives no weights", [f"_{bits}bit" for bits in BITS])
    readings, plain = [], unremembered(model)
    for bits in BITS:
        with quantised(model.hf_model, bits, group):
            readings += sides.tried(
                lambda rows, who: likeliest(sides.task, rows, plainly, who, plain), suffix=f"_{bits}bit", group=group
            )
    return readings


def rounded(weight: Tensor, bits: int, group: int) -> Tensor:
    """Return a weight of shape (out, in) as `bits` bits would hold it: w = s round((w - least) / s) + least.

    Args:
        weight: Of a linear layer.
        bits: How many a weight has.
        group: How many neighbouring inputs share a scale s; the last group of a row may be smaller.
    """
    parts = []
    for part in torch.split(weight.float(), group, dim=1):
        least, largest = part.amin(1, keepdim=True), part.amax(1, keepdim=True)
        scale = ((largest - least) / (2**bits - 1)).clamp_min(torch.finfo(torch.float32).tiny)
        parts.append(torch.round((part - least) / scale) * scale + least)
    return torch.cat(parts, dim=1).to(weight.dtype)


@contextmanager
def quantised(hf_model: Any, bits: int, group: int) -> Iterator[None]:
    """Round every linear layer but the head while the context lasts; then the very tensors come back."""
    head = hf_model.get_output_embeddings()
    layers = [module for module in hf_model.modules() if isinstance(module, nn.Linear) and module is not head]
    kept = [layer.weight.data for layer in layers]
    try:
        for layer in layers:
            layer.weight.data = rounded(layer.weight.data, bits, group)
        yield
    finally:
        for layer, weight in zip(layers, kept, strict=True):
            layer.weight.data = weight
