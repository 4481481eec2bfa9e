"""One whole pass of rows of tokens through the model, for methods that train on answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from amends_editing.structure import Anatomy, accepts, first_of
from amends_editing.tails import Row


@dataclass(frozen=True)
class Packed:
    """Rows as tokens, without the last target, which feeds nothing.

    Args:
        tokens: Shape (rows, length), padded at the end.
        places: Row and position of each token that predicts a part of an answer.
        answers: What it is to predict, shape (places,).
    """

    tokens: Tensor
    places: tuple[Tensor, Tensor]
    answers: Tensor


def pack(anatomy: Anatomy, rows: Sequence[Row]) -> Packed:
    """Put rows with answers into one tensor."""
    length = max(len(row.tokens) for row in rows) - 1
    tokens = torch.zeros(len(rows), length, dtype=torch.long)
    wanted = torch.full_like(tokens, -100)
    for number, row in enumerate(rows):
        tokens[number, : len(row.tokens) - 1] = torch.tensor(row.tokens[:-1])
        first = len(row.tokens) - 1 - row.targets
        wanted[number, first : first + row.targets] = torch.tensor(row.tokens[-row.targets :])
    row_of, column_of = (wanted >= 0).nonzero(as_tuple=True)
    places = (row_of.to(anatomy.device), column_of.to(anatomy.device))
    return Packed(tokens.to(anatomy.device), places, wanted[wanted >= 0].to(anatomy.device))


def answer_loss(anatomy: Anatomy, packed: Packed) -> Tensor:
    """Return the negative log-probability of every answer token, in nats, shape (places,)."""
    found: list[Tensor] = []

    def keep(_: nn.Module, __: Any, out: Any) -> None:
        found.append(first_of(out))

    hook = anatomy.blocks[-1].register_forward_hook(keep)
    more = {"logits_to_keep": 1} if accepts(anatomy.model, "logits_to_keep") else {}
    try:
        anatomy.model(input_ids=packed.tokens, use_cache=False, **more)
    finally:
        hook.remove()
    logp = anatomy.logits(found[-1][packed.places]).log_softmax(-1)
    return -logp.gather(-1, packed.answers[:, None]).squeeze(-1)
