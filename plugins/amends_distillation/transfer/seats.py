"""Where carried neurons sit in a student's MLPs: new seats at the end, or those that the student uses least."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from amends import BadInput
from amends.operation.descent import descend, draws
from amends_distillation.transfer.anatomy import Anatomy
from amends_distillation.transfer.samples import Sample, mean_loss
from amends_distillation.transfer.stages import Stages
from amends_distillation.transfer.tuning import Tuning

ROWS, COLUMNS = ("gate", "up"), ("down",)


@dataclass(frozen=True, eq=False)
class Neurons:
    """Some neurons of an MLP.

    Args:
        gate: What opens them, shape (neurons, width).
        up: What they pass, shape (neurons, width).
        down: What they write, shape (width, neurons).
    """

    gate: Tensor
    up: Tensor
    down: Tensor

    @classmethod
    def joined(cls, some: Sequence[Neurons]) -> Neurons:
        """Return them all as one."""
        gate, up = (torch.cat([getattr(one, name) for one in some]) for name in ROWS)
        return cls(gate, up, torch.cat([one.down for one in some], dim=1))

    def __len__(self) -> int:
        return len(self.gate)


class Seats:
    """Which neurons of a model carried ones take, by layer, as their numbers."""

    def __init__(self, numbers: Mapping[int, Tensor]) -> None:
        self.numbers = dict(numbers)

    @classmethod
    @torch.no_grad()
    def least_used(
        cls,
        anatomy: Anatomy,
        carried: Mapping[int, Neurons],
        samples: Sequence[Sample],
        heed: Callable[[int, int], None],
    ) -> Seats:
        """Return the seats that write least: the mean of |activation| over tokens, times the length of the column.

        Raises:
            BadInput: A layer has fewer neurons than are to sit there.
        """
        found = {}
        for layer, used in _used(anatomy, sorted(carried), samples, heed).items():
            if len(carried[layer]) > len(used):
                raise BadInput(
                    f"layer {layer} has {len(used)} neurons and {len(carried[layer])} are to sit there; carry fewer"
                )
            found[layer] = used.argsort(stable=True)[: len(carried[layer])].sort().values
        return cls(found)

    @torch.no_grad()
    def fill(self, anatomy: Anatomy, carried: Mapping[int, Neurons]) -> None:
        """Write carried neurons into their seats."""
        for layer, numbers in self.numbers.items():
            for name in ROWS:
                anatomy.weight(layer, name)[numbers] = getattr(carried[layer], name)
            anatomy.weight(layer, "down")[:, numbers] = carried[layer].down


def _used(
    anatomy: Anatomy, layers: Sequence[int], samples: Sequence[Sample], heed: Callable[[int, int], None]
) -> dict[int, Tensor]:
    """Return how much each neuron of some layers writes on samples, shape (neurons,)."""
    sums = {layer: torch.zeros(anatomy.linear(layer, "down").in_features, device=anatomy.device) for layer in layers}
    hooks = [anatomy.linear(layer, "down").register_forward_pre_hook(_summing(into)) for layer, into in sums.items()]
    try:
        for number, sample in enumerate(samples):
            heed(number, len(samples))
            anatomy.model(input_ids=torch.tensor([sample.ids], device=anatomy.device), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return {layer: used * anatomy.weight(layer, "down").norm(dim=0) for layer, used in sums.items()}


def _summing(into: Tensor) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    def hook(_: nn.Module, args: tuple[Any, ...]) -> None:
        into.add_(args[0].abs().sum(dim=(0, 1)))

    return hook


@torch.no_grad()
def widen(anatomy: Anatomy, carried: Mapping[int, Neurons]) -> Seats:
    """Give every MLP as many new neurons as the fullest layer needs; until they are filled they write nothing.

    All layers of a configuration are equally wide, so those that need fewer keep neurons of zeros.
    """
    more = max(map(len, carried.values()))
    before = anatomy.linear(0, "down").in_features
    for layer in range(anatomy.depth):
        for name in (*ROWS, *COLUMNS):
            grow(anatomy.linear(layer, name), more, of_rows=name in ROWS)
    anatomy.model.config.intermediate_size = before + more
    return Seats({layer: before + torch.arange(len(some), device=anatomy.device) for layer, some in carried.items()})


def grow(linear: nn.Linear, more: int, *, of_rows: bool) -> None:
    """Give a linear map so many rows, or columns, of zeros at its end."""
    out, into = linear.weight.shape
    shape = (more, into) if of_rows else (out, more)
    zeros = linear.weight.new_zeros(shape)
    linear.weight = nn.Parameter(torch.cat([linear.weight, zeros], dim=0 if of_rows else 1), requires_grad=False)
    if of_rows:
        linear.out_features = out + more
        if linear.bias is not None:
            linear.bias = nn.Parameter(torch.cat([linear.bias, zeros[:, 0]]), requires_grad=False)
    else:
        linear.in_features = into + more


def tune(anatomy: Anatomy, seats: Seats, samples: Sequence[Sample], tuning: Tuning, seed: int, stages: Stages) -> None:
    """Train the neurons in these seats on samples; every other weight keeps its bits."""
    order = draws(len(samples), tuning.batch, seed)
    heed = stages.stage("tuning the carried neurons", 0.65, 1.0)
    weights, hooks = [], []
    for layer, numbers in seats.numbers.items():
        for name in (*ROWS, *COLUMNS):
            weight = anatomy.weight(layer, name)
            mask = torch.zeros_like(weight)
            mask.index_fill_(0 if name in ROWS else 1, numbers, 1.0)
            weight.requires_grad_(True)
            hooks.append(weight.register_hook(mask.mul))  # type: ignore[no-untyped-call]  # torch leaves it untyped
            weights.append(weight)

    def loss_at(step: int) -> Tensor:
        heed(step, tuning.steps)
        return mean_loss(anatomy.model, [samples[place] for place in next(order)])

    try:
        descend(weights, tuning.steps, tuning.lr, loss_at)
    finally:
        for hook in hooks:
            hook.remove()
