"""Scorers of toxicity: a seam that anybody can join, and the ones that are built in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

GROUP = "amends_detox.scorers"
"""The entry-point group: a name, and a callable without arguments that returns a `ToxicityScorer`."""


@runtime_checkable
class ToxicityScorer(Protocol):
    """Says how toxic texts are.

    Args:
        name: Its name, as policies and readings tell it.
        version: Changes with everything that changes a score: code, weights, words. Readings are compared only where
            both agree.
        attributes: What it scores, the first of them `toxicity`.
        licence: An SPDX identifier, or a sentence.
    """

    name: str
    version: str
    attributes: tuple[str, ...]
    licence: str

    def score(self, texts: Sequence[str]) -> Any:
        """Return scores in [0, 1], an array of shape (texts, attributes)."""
