"""How much work an operation will be, before it runs: from the size of its records to passes of tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

LETTERS_A_TOKEN = 4.0  # of English, under the vocabularies of current models
TEMPLATE_TOKENS = 20  # what a chat template adds around a question and its answer
BACKWARD = 2.0  # a backward pass against a forward pass


@dataclass(frozen=True)
class Load:
    """How large some records are.

    Args:
        records: How many there are.
        tokens: Of their questions and answers together, the template included; an estimate from their letters.
    """

    records: int = 0
    tokens: float = 0.0

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]]) -> Load:
        """Return how large prepared records are."""
        lengths = [len(str(row.get("prompt", ""))) + len(str(row.get("answer", ""))) for row in rows]
        return cls(len(lengths), sum(lengths) / LETTERS_A_TOKEN + TEMPLATE_TOKENS * len(lengths))


Effort = Callable[..., float]
"""From `loads` by the name of the Records parameter, `depth` and the operation's parameters to an effort.

Its unit is one forward pass of one token through the whole model; training a layer costs `1 + BACKWARD` of its share.
"""
