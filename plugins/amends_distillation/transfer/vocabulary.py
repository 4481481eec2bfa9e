"""Read parameters in the vocabulary's space, and map one model's residual stream to another's over shared tokens.

Dar et al., 2023, "Analyzing Transformers in Embedding Space", arXiv 2209.02535. The head's rows are centred: what all
tokens share moves every logit alike and says nothing, but it is long, and uncentred vectors read as the same few
tokens whatever they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from amends import BadInput
from amends_distillation.transfer.anatomy import Anatomy

FEWEST_SHARED = 2.0  # shared tokens for each dimension of the wider model, below which the map is mostly a guess


@dataclass(frozen=True, eq=False)
class Lens:
    """A model's tokens as directions of its residual stream.

    Args:
        tokens: Centred rows of the head, shape (tokens, width), in float64.
        gain: Of the final norm, shape (width,).
    """

    tokens: Tensor
    gain: Tensor

    @property
    def seen(self) -> Tensor:
        """The rows as the head sees what is written: with the final norm's gain, shape (tokens, width)."""
        return self.tokens * self.gain

    def logits(self, written: Tensor) -> Tensor:
        """Return what vectors of the residual stream, shape (width, n), say to each token, shape (tokens, n)."""
        return self.seen @ written.to(self.seen)


@torch.no_grad()
def lens_of(anatomy: Anatomy, rows: Sequence[int] | None = None) -> Lens:
    """Return the lens of a model over some rows of its head, or over all; they are centred over the same.

    Args:
        anatomy: The model, whose blocks must add what they write as it is.
        rows: Token ids.
    """
    anatomy.check_direct()
    head = anatomy.head().double()
    chosen = head if rows is None else head[torch.tensor(list(rows), device=head.device)]
    return Lens(chosen - chosen.mean(0), anatomy.gain().double())


def shared_tokens(first: Mapping[str, int], second: Mapping[str, int]) -> tuple[list[int], list[int]]:
    """Return the ids, in both vocabularies, of the tokens that both have, in the order of the tokens' spelling."""
    both = sorted(first.keys() & second.keys())
    return [first[token] for token in both], [second[token] for token in both]


def shared_lenses(first: tuple[Anatomy, Any], second: tuple[Anatomy, Any]) -> tuple[Lens, Lens]:
    """Return the lenses of two models over the tokens that their tokenizers share.

    Args:
        first: A model and its tokenizer.
        second: Another.

    Raises:
        BadInput: They share too few.
    """
    rows = shared_tokens(first[1].get_vocab(), second[1].get_vocab())
    fewest = FEWEST_SHARED * max(first[0].width, second[0].width)
    if len(rows[0]) < fewest:
        raise BadInput(
            f"the two vocabularies share {len(rows[0])} tokens and a map needs {fewest:.0f}; take models whose "
            "tokenizers share more"
        )
    return lens_of(first[0], rows[0]), lens_of(second[0], rows[1])


def kernel(source: Lens, target: Lens, by: str) -> Tensor:
    """Return the map K of a residual stream into another, shape (target width, source width).

    Args:
        source: Where vectors come from.
        target: Where they go to, over the same tokens.
        by: `embedding` is Dar et al.'s K = E2 pinv(E1), E with a token a column: it takes the embedding of a token to
            that of the same token. `lens` is K = pinv(E2 g2) E1 g1, E with a token a row: of all that could be
            written, it takes a vector to the one whose logits are nearest to its own.
    """
    if by == "lens":
        return _inverse(target.seen.T @ target.seen) @ (target.seen.T @ source.seen)
    return (target.tokens.T @ source.tokens) @ _inverse(source.tokens.T @ source.tokens)


def _inverse(gram: Tensor) -> Tensor:
    found: Tensor = torch.linalg.pinv(gram, hermitian=True)
    return found
