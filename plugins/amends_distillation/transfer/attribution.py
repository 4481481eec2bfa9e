"""Which neurons of a model an answer hangs on: integrated gradients (knowledge neurons, Dai et al., 2022, eq. 2-3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from amends_distillation.transfer.anatomy import Anatomy
from amends_distillation.transfer.samples import Sample

Heed = Callable[[int, int], None]


def attributions(anatomy: Anatomy, samples: Sequence[Sample], path: int, heed: Heed) -> Tensor:
    """Return how much of the answers' probability each neuron brings, shape (layers, neurons).

    Of each sample: the sum over its neurons, of one layer, tends to the probability of the answer's first token less
    what it would be if that layer's MLP had written nothing at the token before.

    Args:
        anatomy: The model.
        samples: Questions with their answers.
        path: Steps of the integral, m in the paper.
        heed: Told how many layers of samples are done.
    """
    found = torch.zeros(anatomy.depth, anatomy.linear(0, "down").in_features, device=anatomy.device)
    for number, sample in enumerate(samples):
        for layer in range(anatomy.depth):
            heed(number * anatomy.depth + layer, len(samples) * anatomy.depth)
            found[layer] += attribution(anatomy, sample, layer, path)
    return found


def attribution(anatomy: Anatomy, sample: Sample, layer: int, path: int) -> Tensor:
    """Return w * integral of dP(a w)/dw over a from 0 to 1, of one layer's neurons, shape (neurons,).

    The integral is a sum at the middles of `path` equal parts, which run as one batch.
    """
    place = sample.start - 1
    ids = torch.tensor([sample.ids[: sample.start]], device=anatomy.device)
    module = anatomy.linear(layer, "down")
    kept: list[Tensor] = []
    with torch.no_grad(), _inputs(module, lambda given: kept.append(given[0, place].clone())):
        anatomy.model(input_ids=ids, use_cache=False)
    middles = (torch.arange(path, device=anatomy.device) + 0.5) / path
    scaled = (middles[:, None] * kept[0][None]).requires_grad_(True)

    def put(given: Tensor) -> Tensor:
        changed = given.clone()
        changed[:, place] = scaled
        return changed

    with _inputs(module, put):
        logits = anatomy.model(input_ids=ids.expand(path, -1), use_cache=False).logits[:, place]
    probability = logits.softmax(-1)[:, sample.ids[sample.start]]
    (gradient,) = torch.autograd.grad(probability.sum(), scaled)
    return kept[0] * gradient.mean(0)


@contextmanager
def _inputs(module: nn.Module, change: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    """Show what goes into a module to a function, and give the module what it returns, if anything."""

    def hook(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        put = change(args[0])
        return None if put is None else (put, *args[1:])

    handle = module.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()
