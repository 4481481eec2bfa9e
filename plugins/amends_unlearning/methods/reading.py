"""Run the layers below the adapted ones over records: once for a model and its parent, as far as the two are alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from amends.serving.encoding import end_of

from ..activations import Example
from ..packed import read, read_on
from ..watching import Heed, Watched

Row = Mapping[str, Any]
Side = tuple[Any, Any]  # a model and its tokenizer

READ = 8  # records that are read at once, between two looks at whether to go on


def read_all(model: Any, tokenizer: Any, rows: Sequence[Row], layers: int, heed: Heed) -> list[Example]:
    """Prepare records for the top `layers` layers."""
    found: list[Example] = []
    for start in range(0, len(rows), READ):
        heed()
        found += read(model, tokenizer, rows[start : start + READ], _below(model, layers))
    return found


def read_by_both(
    own: Side, other: Side, rows: Sequence[Row], layers: int, heed: Heed
) -> tuple[list[Example], list[Example]]:
    """Prepare records for the top `layers` layers of a model, and to the top for its parent, which nothing trains.

    What both do alike is done once.
    """
    depth = alike(own, other, layers)
    if depth == 0:
        return read_all(*own, rows, layers, heed), read_all(*other, rows, 0, heed)
    found: tuple[list[Example], list[Example]] = [], []
    for start in range(0, len(rows), READ):
        heed()
        begun = read(*own, rows[start : start + READ], depth)
        for examples, (model, _), above in zip(found, (own, other), (layers, 0), strict=True):
            heed()
            examples += read_on(model, begun, depth, _below(model, above))
    return found


def alike(own: Side, other: Side, layers: int) -> int:
    """Return how many layers below the top `layers` ones do the same in both, 0 where they read texts differently."""
    if _told(*own) != _told(*other):
        return 0
    bodies = [model.get_decoder() for model, _ in (own, other)]
    below = _below(own[0], layers)
    pairs = [[body.embed_tokens for body in bodies], *zip(*(body.layers[:below] for body in bodies), strict=True)]
    for depth, pair in enumerate(pairs):
        if not all(torch.equal(a, b) for a, b in zip(*(module.parameters() for module in pair), strict=True)):
            return max(depth - 1, 0)
    return below


def _told(model: Any, tokenizer: Any) -> object:
    return {**model.config.to_dict(), "_name_or_path": ""}, tokenizer.backend_tokenizer.to_str(), end_of(tokenizer)


def _below(model: Any, layers: int) -> int:
    return int(model.config.num_hidden_layers) - layers


class Rehearsed:
    """Records to keep, each prepared when it is first asked for, with those expected next: of many, a run needs few.

    Which ones are prepared together follows from what is expected, and not from what is asked for when: a run that
    goes on after a kill has the same numbers.
    """

    def __init__(self, model: Any, tokenizer: Any, rows: Sequence[Row], layers: int, heed: Heed) -> None:
        self._model, self._tokenizer, self._rows, self._layers, self._heed = model, tokenizer, rows, layers, heed
        self._made: dict[int, Example] = {}
        self._order: dict[int, int] = {}

    def expect(self, places: Iterable[int]) -> None:
        """Say what will be asked for, in that order, after what was expected before."""
        for place in places:
            self._order.setdefault(place, len(self._order))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Example:
        self._heed()
        if index not in self._made:
            places = self._beside(index)
            rows = [self._rows[place] for place in places]
            examples = read(self._model, self._tokenizer, rows, _below(self._model, self._layers))
            self._made |= dict(zip(places, examples, strict=True))
        return self._made[index]

    def _beside(self, index: int) -> list[int]:
        if index not in self._order:
            return [index]
        first = self._order[index] // READ * READ
        return list(self._order)[first : first + READ]

    def few(self, most: int) -> Sequence[Example]:
        """Return the first of them, at most so many."""
        return Watched([self[place] for place in range(min(len(self), most))], self._heed)
