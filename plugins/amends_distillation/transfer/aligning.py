"""Linear maps between two models' hidden states, by least squares on states of the same tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from amends_distillation.transfer.anatomy import Anatomy
from amends_distillation.transfer.samples import Sample

Heed = Callable[[int, int], None]


def least_squares(source: Tensor, target: Tensor) -> Tensor:
    """Return the matrix P of least norm that makes |P source - target| least, shape (target width, source width).

    Args:
        source: A state a row, shape (n, source width).
        target: The same tokens' states, shape (n, target width).
    """
    found: Tensor = torch.linalg.pinv(source.double()) @ target.double()
    return found.T.to(source.dtype)


@torch.no_grad()
def states_of(
    anatomy: Anatomy, samples: Sequence[Sample], layers: Sequence[int], heed: Heed
) -> dict[int, list[Tensor]]:
    """Return the states around the MLPs of some layers, for every token but the first of each sample.

    A text's first token is left out, because models keep attention sinks there, whose length drowns the others.

    Returns:
        By layer: what enters its MLP, normed, and what leaves the block; each of shape (tokens, width).
    """
    seen: dict[int, tuple[list[Tensor], list[Tensor]]] = {layer: ([], []) for layer in layers}
    with _watching(anatomy, seen):
        for number, sample in enumerate(samples):
            heed(number, len(samples))
            anatomy.model(input_ids=torch.tensor([sample.ids], device=anatomy.device), use_cache=False)
    return {layer: [torch.cat([state[0, 1:] for state in side]) for side in sides] for layer, sides in seen.items()}


@contextmanager
def _watching(anatomy: Anatomy, into: dict[int, tuple[list[Tensor], list[Tensor]]]) -> Iterator[None]:
    hooks = []
    for layer, (entering, leaving) in into.items():
        hooks.append(anatomy.linear(layer, "gate").register_forward_pre_hook(_keeping(entering)))
        hooks.append(anatomy.blocks[layer].register_forward_hook(_keeping_output(leaving)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _keeping(into: list[Tensor]) -> Callable[[nn.Module, Any], None]:
    return lambda _, args: into.append(args[0])


def _keeping_output(into: list[Tensor]) -> Callable[[nn.Module, Any, Any], None]:
    return lambda _, __, out: into.append(out[0] if isinstance(out, tuple) else out)
