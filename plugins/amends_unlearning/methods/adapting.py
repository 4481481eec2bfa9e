"""What an approximate method changes: a low-rank adapter that is merged at the end, or the weights themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from ..activations import Example
from ..lora import Adapter, fresh, linears
from ..projection import closing
from ..settings import Weights


class Change(Protocol):
    """Some numbers of a model that are trained, and can be taken back."""

    def parameters(self) -> list[Tensor]:
        """Return what is trained, in a fixed order."""

    def armed(self, model: Any) -> Any:
        """Return a context in which the model runs with the change."""

    def settle(self, model: Any) -> None:
        """Write the change into the model's weights for good."""


@dataclass(frozen=True)
class LowRank:
    """An adapter beside the weights (Hu et al., 2022), that reads what the kept records hardly use.

    Args:
        adapter: Its matrices, as they are trained.
        closed: For each linear layer the matrix that its input goes through first; see `projection`.
    """

    adapter: Adapter
    closed: Mapping[str, Tensor] = field(default_factory=dict)

    def parameters(self) -> list[Tensor]:
        """Return A and B of every layer."""
        return self.adapter.parameters()

    def armed(self, model: Any) -> Any:
        """Run the adapter beside the weights."""
        return self.adapter.through(self.closed).armed(model)

    def scale(self, learnt: list[Tensor], start: list[Tensor], factor: float) -> None:
        """Take A as learnt, and so many times the learnt B: their product is so many times the change."""
        names = sorted(self.adapter.weights)
        numbers = [new * factor if ".lora_B." in name else new for name, new in zip(names, learnt, strict=True)]
        put_back(self, numbers)

    def settle(self, model: Any) -> None:
        """Add (alpha / r) B A to the weights, A read through what is closed."""
        self.adapter.through(self.closed).merge(model)


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


def change_of(
    model: Any, layers: int, rank: int, weights: Weights, seed: str, spared: Sequence[Example] = ()
) -> LowRank | Whole:
    """Return what to train on the top `layers` layers; it changes nothing yet.

    Args:
        model: Whose layers.
        layers: How many.
        rank: Of an adapter.
        weights: An adapter, or the layers' own weights.
        seed: Draws the adapter.
        spared: Records whose inputs an adapter is kept clear of.
    """
    if weights == "adapter":
        adapter = fresh(model, layers, rank, seed)
        return LowRank(adapter, closing(model, adapter, spared) if spared else {})
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
