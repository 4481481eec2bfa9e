"""Find passages by their words: BM25 (Robertson and Zaragoza, 2009), summed from a matrix made beforehand."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from bm25s.stopwords import STOPWORDS_EN
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int32]

_WORD = re.compile(r"\w+")
_STOP = frozenset(STOPWORDS_EN)
MOST_WORDS = 512
"""So many terms of a query are looked up."""


@dataclass(frozen=True)
class Words:
    """How texts become terms and terms become scores.

    The same word in another form is found by its beginning: a term of its first letters stands beside each word.

    Args:
        k1: How soon another occurrence of a term stops to count.
        b: How much long passages are held back, in [0, 1].
        stop: Leave out the commonest English words.
        prefix: How many letters of a word make the second term; 0 makes none.
    """

    k1: float = 0.9
    b: float = 0.4
    stop: bool = True
    prefix: int = 5

    def terms(self, text: str) -> list[str]:
        """Return the terms of a text: its words in order, then their beginnings, marked by an asterisk."""
        words = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
        kept = [word for word in words if not (self.stop and word in _STOP)]
        return kept + [f"{word[: self.prefix]}*" for word in kept] if self.prefix else kept

    def row(self) -> dict[str, Any]:
        """Return the settings as a JSON object."""
        return asdict(self)


class Lexical:
    """How often each term is in each passage, and the scores that follow.

    Args:
        vocabulary: The terms in code-point order; the place of a term is its column.
        arrays: `counts`, `indices` (both int32) and `indptr` (int64), the columns of the matrix of passages by terms,
            compressed; `lengths` (int32), the terms of each passage.
        words: How texts become terms.
    """

    def __init__(self, vocabulary: Sequence[str], arrays: Mapping[str, NDArray[Any]], words: Words) -> None:
        self.vocabulary, self.arrays, self.words = list(vocabulary), dict(arrays), words
        self.count = len(self.arrays["lengths"])
        self._column = {term: column for column, term in enumerate(self.vocabulary)}
        self._scores = bm25(self.arrays, words)

    @classmethod
    def build(cls, texts: Sequence[str], words: Words) -> Lexical:
        """Index texts; the same texts in the same order give the same arrays."""
        listed = [words.terms(text) for text in texts]
        vocabulary = sorted({term for terms in listed for term in terms})
        column = {term: place for place, term in enumerate(vocabulary)}
        lengths = np.asarray([len(terms) for terms in listed], np.int32)
        columns = np.asarray([column[term] for terms in listed for term in terms], np.int64)
        owners = np.repeat(np.arange(len(listed), dtype=np.int64), lengths)
        pairs, counts = np.unique(columns * max(len(listed), 1) + owners, return_counts=True)
        return cls(vocabulary, _compressed(pairs, counts, len(vocabulary), lengths), words)

    def without(self, gone: NDArray[np.bool_]) -> Lexical:
        """Return the index of the passages that stay, as `build` would make it from them.

        Args:
            gone: Whether each passage goes, shape (passages,).
        """
        counts, indices, indptr = (self.arrays[name] for name in ("counts", "indices", "indptr"))
        columns = np.repeat(np.arange(len(self.vocabulary), dtype=np.int64), np.diff(indptr))
        stays = ~gone[indices]
        place = np.cumsum(~gone) - 1
        used = np.unique(columns[stays])
        narrow = np.searchsorted(used, columns[stays])
        lengths = self.arrays["lengths"][~gone]
        pairs = narrow * max(len(lengths), 1) + place[indices[stays]]
        vocabulary = [self.vocabulary[column] for column in used]
        return Lexical(vocabulary, _compressed(pairs, counts[stays], len(used), lengths), self.words)

    def having(self, term: str) -> list[int]:
        """Return the places of the passages that a term is in."""
        column = self._column[term]
        first, last = self.arrays["indptr"][column], self.arrays["indptr"][column + 1]
        return [int(place) for place in self.arrays["indices"][first:last]]

    def scores(self, query: str) -> Floats:
        """Return the score of every passage for a query, shape (passages,); 0 where no term is shared."""
        total = np.zeros(self.count, np.float32)
        indices, indptr = self.arrays["indices"], self.arrays["indptr"]
        for term in self.words.terms(query)[:MOST_WORDS]:
            column = self._column.get(term)
            if column is not None:
                first, last = indptr[column], indptr[column + 1]
                total[indices[first:last]] += self._scores[first:last]
        return total


def bm25(arrays: Mapping[str, NDArray[Any]], words: Words) -> Floats:
    """Return the score of each count: ln(1 + (N - n + ½) / (n + ½)) · f / (f + k1 (1 - b + b l / mean l)).

    As Lucene has it, without the constant factor k1 + 1; N passages, n of them with the term, f times in this one,
    which has l terms.
    """
    lengths, counts = arrays["lengths"].astype(np.float64), arrays["counts"].astype(np.float64)
    having = np.diff(arrays["indptr"]).astype(np.float64)
    rarity = np.log1p((len(lengths) - having + 0.5) / (having + 0.5))
    mean = lengths.mean() if lengths.any() else 1.0
    held_back = words.k1 * (1 - words.b + words.b * lengths / mean)
    share = counts / (counts + held_back[arrays["indices"]])
    return np.asarray(np.repeat(rarity, np.diff(arrays["indptr"])) * share, np.float32)


def _compressed(
    pairs: NDArray[np.int64], counts: NDArray[Any], columns: int, lengths: NDArray[Any]
) -> dict[str, NDArray[Any]]:
    """Return the arrays of a matrix from its cells, each named by column times passages plus passage."""
    passages = max(len(lengths), 1)
    return {
        "counts": np.asarray(counts, np.int32),
        "indices": np.asarray(pairs % passages, np.int32),
        "indptr": np.searchsorted(pairs // passages, np.arange(columns + 1)).astype(np.int64),
        "lengths": np.asarray(lengths, np.int32),
    }
