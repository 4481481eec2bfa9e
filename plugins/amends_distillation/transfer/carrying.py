"""Carry the change of one linear map into another model: K on the side of the residual stream, a match on the other.

Which side that is depends on the map: what an MLP or attention puts out is written to the stream, all else is read from
it. What is written goes through K; what is read goes through the map back, as a covector does, between the gains of the
two norms. On the inner side neurons and values go where they are matched with, queries and keys stay in their place.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from amends import BadInput
from amends_distillation.transfer.anatomy import WRITING, Anatomy
from amends_distillation.transfer.deltas import Change
from amends_distillation.transfer.matching import Matcher
from amends_distillation.transfer.vocabulary import Lens, kernel

FLOOR = 1e-6  # of a gain, relative to the largest, below which a norm shows nothing of an axis


@dataclass(frozen=True, eq=False)
class Carrier:
    """Carries changes from a model into another.

    Args:
        first: Where they come from.
        second: Where they go.
        lenses: Of both, over the tokens that they share.
        matcher: Which parts are which.
        there: From the first stream to the second, shape (second width, first width).
        back: From the second to the first, shape (first width, second width).
    """

    first: Anatomy
    second: Anatomy
    lenses: tuple[Lens, Lens]
    matcher: Matcher
    there: Tensor
    back: Tensor

    @classmethod
    def between(cls, first: Anatomy, second: Anatomy, lenses: tuple[Lens, Lens], by: str) -> Carrier:
        """Return the carrier between two models whose lenses show the same tokens."""
        one, two = lenses
        return cls(first, second, lenses, Matcher(first, second, lenses), kernel(one, two, by), kernel(two, one, by))

    def carry(self, change: Change, name: str, layer: int, other: int) -> Tensor:
        """Return the change of a layer's map as one of a layer of the second model, shape of the map there."""
        into = torch.zeros(self.second.weight(other, name).shape, dtype=torch.float64, device=self.second.device)
        whole = change.whole.to(into)
        inner = self.inner(name, layer, other).to(into.device)
        kept = inner >= 0
        if name in WRITING:
            into[:, inner[kept]] = (self.there @ whole)[:, kept]
        else:
            part = "mlp" if name in ("gate", "up") else "attention"
            gains = self.first.gain(layer, part).double(), self.second.gain(other, part).double()
            read = (whole * gains[0]) @ self.back
            into[inner[kept]] = (read * _inverse(gains[1]))[kept]
        return into

    def inner(self, name: str, layer: int, other: int) -> Tensor:
        """Return where each inner place of a map goes in the second model, or -1.

        Raises:
            BadInput: Queries or keys are of another shape there.
        """
        if name in ("gate", "up", "down"):
            return self.matcher.neurons(layer, other)
        if name == "v":
            return self.matcher.values(layer, other)
        if name == "o":
            return self._readers(self.matcher.values(layer, other))
        rows = [model.weight(0, name).shape[0] for model in (self.first, self.second)]
        if rows[0] != rows[1] or self.first.head_size != self.second.head_size:
            raise BadInput(
                "the heads of the two models are of other shapes, so queries and keys cannot be carried; carry an edit "
                "of the MLPs alone"
            )
        return torch.arange(rows[0])

    def _readers(self, values: Tensor) -> Tensor:
        """Return where the columns of the output map go when the rows of the value map go where `values` says."""
        size, group, other_size = self.first.head_size, self.first.group, self.second.head_size
        found = torch.full((len(values) * group,), -1, dtype=torch.long)
        for row, target in enumerate(values.tolist()):
            for member in range(group):
                place = ((row // size) * group + member) * size + row % size
                if target >= 0:
                    found[place] = ((target // other_size) * group + member) * other_size + target % other_size
        return found


def _inverse(gain: Tensor) -> Tensor:
    """Return one over a gain, and 0 where the norm shows nothing of an axis."""
    return torch.where(gain.abs() > FLOOR * gain.abs().max(), 1 / gain, torch.zeros_like(gain))
