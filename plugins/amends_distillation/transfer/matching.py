"""Which layer, neuron and value of one model is which of another: an assignment on correlations in token space.

Dar et al. (2023, section 4.2) compare parameters of two models by reading both in the vocabulary. Whatever has no order
of its own (neurons, values, layers) is then matched as a whole, by the Hungarian method.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from amends import AmendsError, BadInput
from amends_distillation.transfer.anatomy import Anatomy
from amends_distillation.transfer.vocabulary import Lens

Heed = Callable[[int, int], None]
Grams = tuple[Tensor, Tensor, Tensor]
"""Inner products, over tokens, of the residual streams' axes: first by first, first by second, second by second."""
LEAST = torch.finfo(torch.float64).tiny


class Matcher:
    """Compares the parameters of two models over their shared tokens.

    Args:
        first: A model.
        second: Another.
        lenses: Of both, over the same tokens.
    """

    def __init__(self, first: Anatomy, second: Anatomy, lenses: tuple[Lens, Lens]) -> None:
        self.first, self.second = first, second
        self.reads = _grams(*(lens.tokens for lens in lenses))
        self.writes = _grams(*(lens.seen for lens in lenses))

    def layers(self, wanted: Sequence[int], heed: Heed) -> dict[int, int]:
        """Return for each wanted layer of the first model the layer of the second that it is matched with.

        Raises:
            BadInput: The second model has fewer layers than are wanted.
        """
        if len(wanted) > self.second.depth:
            raise BadInput(
                f"{len(wanted)} layers are to be carried and the model has {self.second.depth}; carry an edit of fewer "
                "layers, or take a deeper model"
            )
        scores = self.similarity(heed)[list(wanted)]
        rows, columns = linear_sum_assignment(scores.cpu().numpy(), maximize=True)
        return {wanted[int(row)]: int(column) for row, column in zip(rows, columns, strict=True)}

    def similarity(self, heed: Heed) -> Tensor:
        """Return the correlation of every layer of the first model with every one of the second, shape (L1, L2).

        With what a neuron of a layer says to each token as a column of D, it is that of D1 D1' and D2 D2', which no
        order of neurons changes; what all layers of a model have in common is taken off before. Nothing as large as
        the vocabulary squared is made: <D1 D1', D2 D2'> = <X' W1 W1' X, W2 W2'>, X the inner products of the axes.
        """
        one = _moments(self.first, self.writes[0], lambda done, total: heed(done, 2 * total))
        two = _moments(self.second, self.writes[2], lambda done, total: heed(done + total, 2 * total))
        return torch.einsum("iab,jab->ij", self.writes[1].T @ one @ self.writes[1], two)

    def neurons(self, layer: int, other: int) -> Tensor:
        """Return for each neuron of a layer the one that it is matched with in a layer of the second model, or -1.

        They correlate as the sum of the cosines of what opens them, what they pass and what they write.
        """
        scores = self._cosines(self.writes, *(w.T for w in self._weights("down", layer, other)))
        for name in ("gate", "up"):
            scores = scores + self._cosines(self.reads, *self._read(name, "mlp", layer, other))
        return _assigned(scores)

    def values(self, layer: int, other: int) -> Tensor:
        """Return the match of the rows of two layers' value maps, or -1; what reads them out goes with them.

        Raises:
            BadInput: The heads of the two models share values in another way.
        """
        if self.first.group != self.second.group:
            raise BadInput(
                f"{self.first.group} heads share a value in one model and {self.second.group} in the other, so "
                "attention cannot be carried; carry an edit of the MLPs alone"
            )
        scores = self._cosines(self.reads, *self._read("v", "attention", layer, other))
        for one, two in zip(by_value(self.first, layer), by_value(self.second, other), strict=True):
            scores = scores + self._cosines(self.writes, one, two)
        return _assigned(scores)

    def _weights(self, name: str, layer: int, other: int) -> tuple[Tensor, Tensor]:
        return self.first.weight(layer, name).double(), self.second.weight(other, name).double()

    def _read(self, name: str, part: str, layer: int, other: int) -> tuple[Tensor, Tensor]:
        """Return the rows of a map that reads the residual stream, with the gain of the norm before it."""
        one, two = self._weights(name, layer, other)
        return one * self.first.gain(layer, part).double(), two * self.second.gain(other, part).double()

    @staticmethod
    def _cosines(grams: Grams, one: Tensor, two: Tensor) -> Tensor:
        """Return the cosines over tokens of rows, shape (n1, n2)."""
        lengths = [
            ((rows @ gram) * rows).sum(1).clamp(min=0).sqrt() for rows, gram in ((one, grams[0]), (two, grams[2]))
        ]
        return one @ grams[1] @ two.T / (lengths[0][:, None] * lengths[1]).clamp(min=LEAST)


def _grams(one: Tensor, two: Tensor) -> Grams:
    return one.T @ one, one.T @ two, two.T @ two


def _moments(model: Anatomy, gram: Tensor, heed: Heed) -> Tensor:
    """Return W W' of every layer's values, shape (layers, width, width), centred over layers and of unit length."""
    found = []
    for layer in range(model.depth):
        heed(layer, model.depth)
        written = model.weight(layer, "down").double()
        found.append(written @ written.T)
    moments = _unit(torch.stack(found), gram)
    return _unit(moments - moments.mean(0), gram) if len(found) > 1 else moments


def _unit(moments: Tensor, gram: Tensor) -> Tensor:
    lengths = ((gram @ moments @ gram) * moments).sum(dim=(1, 2)).clamp(min=LEAST).sqrt()
    return moments / lengths[:, None, None]


def by_value(model: Anatomy, layer: int) -> list[Tensor]:
    """Return the columns of an attention's output map by the row of the value map that they read out.

    Heads that share their values read the same row: the first of each group make up the first of what is returned.

    Returns:
        As many as heads share a value, each of shape (rows of the value map, width).
    """
    columns = model.weight(layer, "o").double().T
    grouped = columns.reshape(-1, model.group, model.head_size, columns.shape[1])
    return [grouped[:, member].flatten(0, 1) for member in range(model.group)]


def _assigned(scores: Tensor) -> Tensor:
    if not bool(scores.isfinite().all()):
        raise AmendsError("a weight is NaN or infinite, so nothing can be matched with it; take another version")
    rows, columns = linear_sum_assignment(scores.cpu().numpy(), maximize=True)
    found = torch.full((len(scores),), -1, dtype=torch.long)
    found[torch.as_tensor(rows)] = torch.as_tensor(columns)
    return found
