"""Vectors of passages and of their single sentences: a passage is as near to a question as its nearest sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amends import BadInput
from amends_rag.chunking import sentences
from amends_rag.dense import TextEncoder

Floats = NDArray[np.float32]
Halves = NDArray[np.float16]
Places = NDArray[np.int64]

MOST = 64
"""So many sentences of a passage are embedded; the rest stands in the vector of the whole alone."""


@dataclass(frozen=True)
class Embedded:
    """Vectors of passages in their order.

    Args:
        vectors: One of unit length for each passage, float32, shape (passages, dimension).
        parts: One for each sentence, float16, shape (sentences, dimension).
        offsets: Where the sentences of each passage begin and the last ones end, shape (passages + 1,).
    """

    vectors: Floats = field(repr=False)
    parts: Halves = field(repr=False)
    offsets: Places = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.offsets) != len(self.vectors) + 1 or int(self.offsets[-1]) != len(self.parts):
            raise BadInput("the vectors of the sentences do not fit those of the passages; build the index again")

    @classmethod
    def empty(cls, dimension: int) -> Embedded:
        """Return no vectors."""
        return cls(np.zeros((0, dimension), np.float32), np.zeros((0, dimension), np.float16), np.zeros(1, np.int64))

    @classmethod
    def whole(cls, vectors: Floats) -> Embedded:
        """Return vectors of passages without any of their sentences."""
        none = np.zeros((0, vectors.shape[1]), np.float16)
        return cls(vectors, none, np.zeros(len(vectors) + 1, np.int64))

    @classmethod
    def joined(cls, several: Sequence[Embedded], dimension: int) -> Embedded:
        """Return the vectors of several, one after the other."""
        several = several or [cls.empty(dimension)]
        starts = np.cumsum([0, *(len(one.parts) for one in several)])
        ends = [one.offsets[1:] + start for one, start in zip(several, starts[:-1], strict=True)]
        return cls(
            np.concatenate([one.vectors for one in several]),
            np.concatenate([one.parts for one in several]),
            np.concatenate([np.zeros(1, np.int64), *ends]).astype(np.int64),
        )

    def take(self, places: Places) -> Embedded:
        """Return the vectors of some passages, in the order of their places."""
        counts = np.diff(self.offsets)[places]
        chosen = [np.arange(self.offsets[place], self.offsets[place + 1]) for place in places]
        parts = self.parts[np.concatenate(chosen)] if len(chosen) else self.parts[:0]
        return Embedded(self.vectors[places], parts, np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by name, to be written to a file."""
        return {"vectors": self.vectors, "parts": self.parts, "offsets": self.offsets}

    def packed(self) -> list[bytes]:
        """Return the sentences' vectors of each passage as bytes."""
        return [
            self.parts[first:last].tobytes() for first, last in zip(self.offsets[:-1], self.offsets[1:], strict=True)
        ]

    @classmethod
    def unpacked(cls, vectors: Floats, packed: Sequence[bytes]) -> Embedded:
        """Return what `packed` gave, with the vectors of the passages."""
        dimension = vectors.shape[1]
        parts = np.frombuffer(b"".join(packed), np.float16).reshape(-1, dimension)
        counts = np.asarray([len(part) // (2 * dimension) for part in packed], np.int64)
        return cls(vectors, parts, np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]))

    def nearest(self, places: Places, query: Floats) -> Floats:
        """Return how near each of some passages is to a query: the whole, or its nearest sentence where that is nearer.

        Args:
            places: Of the passages.
            query: A unit vector, shape (dimension,).
        """
        found = self.vectors[places] @ query
        for place, passage in enumerate(places):
            first, last = self.offsets[passage], self.offsets[passage + 1]
            if last > first:
                found[place] = max(found[place], (self.parts[first:last].astype(np.float32) @ query).max())
        return np.asarray(found, np.float32)


def embed_passages(encoder: TextEncoder, texts: Sequence[str]) -> Embedded:
    """Embed passages and their sentences, each text by itself; a passage of one sentence has no further vectors."""
    vectors = encoder.embed(texts)
    split = [sentences(text)[:MOST] for text in texts]
    split = [parts if len(parts) > 1 else [] for parts in split]
    rows = encoder.embed([part for parts in split for part in parts]).astype(np.float16)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum([len(parts) for parts in split])]).astype(np.int64)
    return Embedded(vectors, rows, offsets)
