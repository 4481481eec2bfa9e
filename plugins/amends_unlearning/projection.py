"""Keep what earlier slices taught: a new slice's adapter stays silent on the inputs that theirs answer to.

Orthogonal weight modification (Zeng et al., 2019): with X the inputs that a linear layer had on the earlier
records, one a row, new down-projections are read through P = (I + XᵀX / (n ε t))⁻¹, where t is the mean of the
diagonal of XᵀX / n. P leaves directions alone that X never took, and closes those that it took. So training
touches only its own slice's records and still does not overwrite the slices before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from . import packed
from .activations import Example, run_upper
from .lora import Adapter

EPSILON = 0.1
STRIP = 256  # columns of a moment that are multiplied at once
SAME = {"k_proj": "q_proj", "v_proj": "q_proj", "up_proj": "gate_proj"}  # layers that read what another one reads


def projectors(model: Any, adapter: Adapter, earlier: Sequence[Example]) -> dict[str, Tensor]:
    """Return the projector of each adapted linear layer, by its name, shape (in, in).

    Args:
        model: The frozen base.
        adapter: What the earlier slices taught.
        earlier: Their records in a fixed order; each is run alone, so that the sums do not depend on batches.
    """
    moments: dict[str, Tensor] = {}
    with torch.no_grad(), adapter.armed(model), _summing(model, adapter, moments, _squared):
        for example in earlier:
            run_upper(model, example.hidden[None], len(adapter.layers))
    return _made(adapter, moments, sum(len(example.hidden) for example in earlier))


def closing(model: Any, adapter: Adapter, examples: Sequence[Example]) -> dict[str, Tensor]:
    """Return what `projectors` gives, but for the last bits: quicker, and for what need not be rebuilt bit for bit.

    Args:
        model: As it is to be read.
        adapter: Whose layers are asked for; it is not armed.
        examples: Run many at once, and multiplied in single precision.
    """
    moments: dict[str, Tensor] = {}
    with torch.no_grad(), _summing(model, adapter, moments, _gram):
        for places in packed.grouped([len(example.hidden) for example in examples]):
            packed.run_upper(model, [examples[place] for place in places], len(adapter.layers))
    return _made(adapter, moments, sum(len(example.hidden) - 1 for example in examples))


@contextmanager
def _summing(
    model: Any, adapter: Adapter, moments: dict[str, Tensor], moment: Callable[[Tensor], Tensor]
) -> Iterator[None]:
    readers = sorted({_reader(name) for name, _, _ in adapter.pairs()})
    add = partial(_add, moments, moment)
    hooks = [model.get_submodule(name).register_forward_pre_hook(partial(add, name)) for name in readers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _made(adapter: Adapter, moments: dict[str, Tensor], tokens: int) -> dict[str, Tensor]:
    made = {name: projector(moment / tokens) for name, moment in moments.items()}
    names = [name for name, _, _ in adapter.pairs()]
    return {name: made[reader] for name in names if (reader := _reader(name)) in made}  # none without earlier records


def _reader(name: str) -> str:
    """Return the first of the layers that read what the named one reads."""
    block, _, leaf = name.rpartition(".")
    return f"{block}.{SAME.get(leaf, leaf)}"


def projector(moment: Tensor, epsilon: float = EPSILON) -> Tensor:
    """Return (I + C / (ε t))⁻¹ of a second moment C, shape (in, in), with t the mean of its diagonal."""
    scaled = moment / (epsilon * moment.diagonal().mean())
    identity = torch.eye(len(moment), dtype=moment.dtype, device=moment.device)
    return torch.cholesky_inverse(torch.linalg.cholesky(identity + scaled)).float()


def _add(
    moments: dict[str, Tensor], moment: Callable[[Tensor], Tensor], name: str, _: nn.Module, inputs: tuple[Tensor, ...]
) -> None:
    moments[name] = moments.get(name, 0) + moment(inputs[0].flatten(0, -2))


def _squared(rows: Tensor) -> Tensor:
    rows = rows.double()
    return rows.T @ rows


def _gram(rows: Tensor) -> Tensor:
    """Return XᵀX in single precision, what lies below the diagonal copied from above it."""
    width = rows.shape[1]
    found = rows.new_empty(width, width)
    for start in range(0, width, STRIP):
        strip = rows[:, start : start + STRIP].T @ rows[:, start:]
        found[start : start + STRIP, start:] = strip
        found[start:, start : start + STRIP] = strip.T
    return found
