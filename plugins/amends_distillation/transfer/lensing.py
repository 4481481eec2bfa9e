"""What the value vectors of a layer's MLP say to the tokens, before and after an operation.

Tokens are ranked by the cosine of a vector with their own rows, not by logits: common tokens have the longest rows, and
come first wherever a vector points. On SmolLM2, the row of " Paris" gives " ", " (" and " in" the largest logits; by
cosine it is followed by "Paris", " London" and " French".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from amends import BadInput
from amends_distillation.transfer.anatomy import Anatomy
from amends_distillation.transfer.deltas import Change
from amends_distillation.transfer.vocabulary import Lens

Tokens = tuple[tuple[str, float], ...]
"""Tokens with their cosines, the nearest first."""


@dataclass(frozen=True)
class Vector:
    """A vector that an MLP writes to the residual stream, or a direction of how it changed.

    Args:
        kind: `direction` of the change, or `neuron`.
        number: Of the direction, counted from 1, or of the neuron, counted from 0.
        share: Of the layer's squared change.
        cosine: Between what it says before and after; None for a direction, or without a version before.
        towards: Tokens that it makes likelier; of a neuron, after the operation.
        away: Tokens at the other end of a direction; of a neuron, those that it made likelier before.
    """

    kind: str
    number: int
    share: float
    cosine: float | None
    towards: Tokens = field(repr=False)
    away: Tokens = field(repr=False)

    def to_json(self, with_tokens: bool) -> dict[str, Any]:
        """Return it as a JSON object, with its tokens or without."""
        told = {name: getattr(self, name) for name in ("kind", "number", "share", "cosine")}
        sides = {"towards": self.towards, "away" if self.kind == "direction" else "before": self.away}
        shown = {name: [[token, round(cosine, 3)] for token, cosine in side] for name, side in sides.items()}
        return {**told, **(shown if with_tokens else {})}


@dataclass(frozen=True)
class Layer:
    """One layer as the lens shows it.

    Args:
        number: Which, counted from 0.
        change: The length of the change of its value vectors, over their length before.
        vectors: Directions of the change first, then neurons.
    """

    number: int
    change: float
    vectors: tuple[Vector, ...]


def changed_layers(after: Anatomy, before: Anatomy) -> dict[int, float]:
    """Return the layers whose value vectors differ, with the length of the change over theirs, the largest first.

    Raises:
        BadInput: The two are of different builds.
    """
    shapes = [(one.depth, one.weight(0, "down").shape) for one in (after, before)]
    if shapes[0] != shapes[1]:
        raise BadInput(
            "the two versions are not of one build, so they cannot be compared; take one made from the other"
        )
    found = {}
    for layer in range(after.depth):
        new, old = after.weight(layer, "down"), before.weight(layer, "down")
        if not torch.equal(new, old):
            found[layer] = float((new.double() - old.double()).norm() / old.double().norm())
    return dict(sorted(found.items(), key=lambda item: -item[1]))


@dataclass(frozen=True, eq=False)
class Reader:
    """Reads layers through the lens.

    Args:
        lens: Of the version after, over its whole vocabulary.
        words: What a token id is called.
        top: How many tokens are shown of a vector.
        most: How many directions, and how many neurons, of a layer.
    """

    lens: Lens
    words: Mapping[int, str]
    top: int
    most: int

    def compare(self, after: Anatomy, before: Anatomy, layer: int, neurons: Sequence[int] = ()) -> Layer:
        """Return the directions of a layer's change, and the neurons that changed most or those that are named."""
        new, old = after.weight(layer, "down").double(), before.weight(layer, "down").double()
        delta = new - old
        whole = float(delta.square().sum())
        vectors = list(self._directions(delta, whole)) if whole else []
        sizes = delta.square().sum(0)
        chosen = list(neurons) or [int(n) for n in sizes.topk(min(self.most, len(sizes))).indices if sizes[n] > 0]
        for neuron in self._checked(chosen, len(sizes)):
            share = float(sizes[neuron]) / whole if whole else 0.0
            vectors.append(self._neuron(neuron, share, new[:, neuron], old[:, neuron]))
        return Layer(layer, float(delta.norm() / old.norm()), tuple(vectors))

    def alone(self, model: Anatomy, layer: int, neurons: Sequence[int] = ()) -> Layer:
        """Return the neurons of a layer that write the longest vectors, or those that are named."""
        values = model.weight(layer, "down").double()
        count = values.shape[1]
        chosen = list(neurons) or values.norm(dim=0).topk(min(self.most, count)).indices.tolist()
        found = [self._neuron(neuron, 0.0, values[:, neuron], None) for neuron in self._checked(chosen, count)]
        return Layer(layer, 0.0, tuple(found))

    def _checked(self, neurons: Sequence[int], count: int) -> Sequence[int]:
        for neuron in neurons:
            if not 0 <= neuron < count:
                raise BadInput(f"there is no neuron {neuron}; the layer has 0 to {count - 1}")
        return neurons

    def _directions(self, delta: Tensor, whole: float) -> Iterator[Vector]:
        change = Change.of(delta, self.most)
        for number, size in enumerate(change.sizes.tolist()):
            ends = (self._tokens(change.left[:, number], sign) for sign in (1, -1))
            yield Vector("direction", number + 1, size**2 / whole, None, *ends)

    def _neuron(self, number: int, share: float, after: Tensor, before: Tensor | None) -> Vector:
        if before is None:
            return Vector("neuron", number, share, None, self._tokens(after), ())
        said, past = self.lens.logits(after), self.lens.logits(before)
        cosine = float(torch.nn.functional.cosine_similarity(said, past, dim=0))
        return Vector("neuron", number, share, cosine, self._tokens(after), self._tokens(before))

    @cached_property
    def _lengths(self) -> Tensor:
        found: Tensor = self.lens.seen.norm(dim=1)
        return found

    def _tokens(self, written: Tensor, sign: int = 1) -> Tokens:
        """Return the tokens whose rows point most where a vector does, or most the other way."""
        lengths = (self._lengths * written.norm()).clamp(min=torch.finfo(torch.float64).tiny)
        said = self.lens.logits(written) / lengths
        order = (sign * said).argsort(descending=True, stable=True)[: self.top].tolist()
        return tuple((self.words.get(token, f"[{token}]"), float(said[token])) for token in order)


def words_of(tokenizer: Any) -> dict[int, str]:
    """Return what each token looks like: a space is shown, and what cannot be printed stands as its number."""
    return {number: shown(tokenizer.decode([number])) for number in tokenizer.get_vocab().values()}


def shown(text: str) -> str:
    """Return a token so that a person can read it."""
    spaced = text.replace(" ", "␣")
    return "".join(letter if letter.isprintable() else f"\\u{ord(letter):04x}" for letter in spaced)
