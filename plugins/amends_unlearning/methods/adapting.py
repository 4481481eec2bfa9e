"""What an approximate method changes: a low-rank adapter that is merged at the end, or the weights themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from ..lora import Adapter, fresh, linears

Weights = Literal["adapter", "full"]


class Change(Protocol):
    """Some numbers of a model that are trained, and can be taken back."""

    def parameters(self) -> list[Tensor]:
        """Return what is trained, in a fixed order."""

    def armed(self, model: Any) -> Any:
        """Return a context in which the model runs with the change."""

    def scale(self, learnt: list[Tensor], start: list[Tensor], factor: float) -> None:
        """Become so many times what was learnt, which may be less than none of it."""

    def settle(self, model: Any) -> None:
        """Write the change into the model's weights for good."""


@dataclass(frozen=True)
class LowRank:
    """An adapter beside the weights (Hu et al., 2022)."""

    adapter: Adapter

    def parameters(self) -> list[Tensor]:
        """Return A and B of every layer."""
        return self.adapter.parameters()

    def armed(self, model: Any) -> Any:
        """Run the adapter beside the weights."""
        return self.adapter.armed(model)

    def scale(self, learnt: list[Tensor], start: list[Tensor], factor: float) -> None:
        """Take A as learnt, and so many times the learnt B: their product is so many times the change."""
        names = sorted(self.adapter.weights)
        numbers = [new * factor if ".lora_B." in name else new for name, new in zip(names, learnt, strict=True)]
        put_back(self, numbers)

    def settle(self, model: Any) -> None:
        """Add (alpha / r) B A to the weights."""
        self.adapter.merge(model)


@dataclass(frozen=True)
class Whole:
    """The weights of the adapted layers themselves."""

    weights: list[Tensor]

    def parameters(self) -> list[Tensor]:
        """Return the weights."""
        return self.weights

    @contextmanager
    def armed(self, model: Any) -> Iterator[None]:
        """Run as it is: the change is in the weights already."""
        yield

    def scale(self, learnt: list[Tensor], start: list[Tensor], factor: float) -> None:
        """Go so many times as far from the start as was learnt."""
        put_back(self, [old + factor * (new - old) for new, old in zip(learnt, start, strict=True)])

    def settle(self, model: Any) -> None:
        """Leave the weights as they are."""


def change_of(model: Any, layers: int, rank: int, weights: Weights, seed: str) -> Change:
    """Return what to train on the top `layers` layers; it changes nothing yet."""
    if weights == "adapter":
        return LowRank(fresh(model, layers, rank, seed))
    depth = model.config.num_hidden_layers
    return Whole([module.weight for _, module in linears(model, tuple(range(depth - layers, depth)))])


@contextmanager
def training(change: Change) -> Iterator[None]:
    """Let gradients reach the change while the context lasts."""
    for parameter in change.parameters():
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in change.parameters():
            parameter.requires_grad_(False)
            parameter.grad = None


def copied(change: Change) -> list[Tensor]:
    """Return what is trained as it is now."""
    return [parameter.detach().clone() for parameter in change.parameters()]


def put_back(change: Change, numbers: list[Tensor]) -> None:
    """Make what is trained what it was."""
    with torch.no_grad():
        for parameter, old in zip(change.parameters(), numbers, strict=True):
            parameter.copy_(old)
