"""Stop an update that moves what it was not to move: measured between batches, while there is still a way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import torch
from torch import Tensor

from amends import AmendsError
from amends.serving.encoding import encode_text
from amends_editing.desk import Factors
from amends_editing.facts import Fact
from amends_editing.structure import Anatomy

MOST_NEIGHBOURS = 64
HALVINGS = 3
NEAR = 4.0  # a neighbour's prompt ends where the edit acts: it may move so many times as far as plain text


def plain_text() -> list[str]:
    """Return paragraphs of plain English that this package ships, written for it and about nobody."""
    return files("amends_editing").joinpath("texts/plain.txt").read_text(encoding="utf-8").split("\n\n")


@dataclass(frozen=True)
class Moved:
    """How far an update moved what it was not to move: mean KL(before || after), in nats."""

    text: float
    neighbours: float

    def __str__(self) -> str:
        return f"plain text by {self.text:.2f} nats, neighbours by {self.neighbours:.2f}"

    @property
    def most(self) -> float:
        """What is held against the limit: the text's distance, or a quarter of the neighbours' where that is more.

        A model that gives NaN moved infinitely far.
        """
        return max(value if value == value else float("inf") for value in (self.text, self.neighbours / NEAR))


class Guard:
    """What the model said before a batch, and how far it has moved since.

    Args:
        anatomy: The model's parts.
        tokenizer: Its tokenizer.
        facts: Whose neighbours are asked as well.
        limit: At most so many nats on plain text, and four times as many on neighbours.
    """

    def __init__(self, anatomy: Anatomy, tokenizer: Any, facts: Sequence[Fact], limit: float) -> None:
        self.anatomy, self.limit = anatomy, limit
        prompts = list(dict.fromkeys(q.prompt for fact in facts for q in fact.neighbours))[:MOST_NEIGHBOURS]
        self.text = [self._tokens(tokenizer, text.replace("\n", " ").strip()) for text in plain_text()]
        self.neighbours = [self._tokens(tokenizer, prompt) for prompt in prompts]
        self.before = self._read()

    def _tokens(self, tokenizer: Any, text: str) -> Tensor:
        return torch.tensor([encode_text(tokenizer, text)], device=self.anatomy.device)

    @torch.no_grad()
    def _read(self) -> tuple[list[Tensor], list[Tensor]]:
        """Return log-probabilities: at every place of the text, and at the end of each neighbour's prompt."""
        model = self.anatomy.model
        text = [model(input_ids=ids, use_cache=False).logits[0].log_softmax(-1) for ids in self.text]
        ends = [model(input_ids=ids, use_cache=False).logits[:, -1].log_softmax(-1) for ids in self.neighbours]
        return text, ends

    def moved(self) -> Moved:
        """Return how far the model has moved."""
        distances = []
        for before, after in zip(self.before, self._read(), strict=True):
            each = [(b.exp() * (b - a)).sum(-1) for b, a in zip(before, after, strict=True)]
            distances.append(float(torch.cat(each).mean()) if each else 0.0)
        return Moved(*distances)

    def hold(self, made: Sequence[Factors], weights: dict[int, Tensor]) -> tuple[float, Moved]:
        """Shrink an update by halves until it moves little enough.

        Args:
            made: The update, which is in the model.
            weights: The touched projections' weights before it, by layer.

        Returns:
            The share of the update that is in the model now, and how far that moved.

        Raises:
            AmendsError: Even an eighth of it moves too far; the weights are as they were.
        """
        scale, moved = 1.0, self.moved()
        for _ in range(HALVINGS):
            if moved.most <= self.limit:
                return scale, moved
            scale /= 2
            put_back(self.anatomy, weights)
            for factors in made:
                factors.apply(self.anatomy, scale)
            moved = self.moved()
        if moved.most <= self.limit:
            return scale, moved
        put_back(self.anatomy, weights)
        raise AmendsError(
            f"the update moves what it was not to move even at {scale:g} of its size: {moved} (at most {self.limit:g} "
            f"and {NEAR * self.limit:g}); take fewer edits at once, other layers (amends edit trace) or a larger "
            "max_drift"
        )


@torch.no_grad()
def put_back(anatomy: Anatomy, weights: dict[int, Tensor]) -> None:
    """Give projections back the weights that they had, bit by bit."""
    for layer, weight in weights.items():
        anatomy.projections[layer].weight.copy_(weight)
