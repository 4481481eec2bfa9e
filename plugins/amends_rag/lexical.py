"""Find passages by their words: BM25 (Robertson and Zaragoza, 2009), as bm25s computes it eagerly (Lù, 2024)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import bm25s
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_WORD = re.compile(r"\w+")
_STOP = frozenset(bm25s.stopwords.STOPWORDS_EN)
_MOST_WORDS = 512


@dataclass(frozen=True)
class Words:
    """How texts become terms and terms become scores.

    Args:
        k1: How soon another occurrence of a term stops to count.
        b: How much long passages are held back, in [0, 1].
        stop: Leave out the commonest English words.
        stem: Take the plural and the singular of an English word for the same term.
    """

    k1: float = 1.2
    b: float = 0.75
    stop: bool = True
    stem: bool = True

    def terms(self, text: str) -> list[str]:
        """Return the terms of a text in order."""
        words = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
        kept = [word for word in words if not (self.stop and word in _STOP)]
        return [singular(word) for word in kept] if self.stem else kept

    def row(self) -> dict[str, Any]:
        """Return the settings as a JSON object."""
        return asdict(self)


def singular(word: str) -> str:
    """Return an English noun without the ending of its plural (the S stemmer of Harman, 1991)."""
    if word.endswith("ies") and not word.endswith(("eies", "aies")) and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith("es") and not word.endswith(("aes", "ees", "oes")) and len(word) > 3:
        return word[:-1]
    if word.endswith("s") and not word.endswith(("us", "ss")) and len(word) > 3:
        return word[:-1]
    return word


class Lexical:
    """A matrix of BM25 scores by term and passage, ready to be summed for a query.

    Args:
        vocabulary: The terms in code-point order; the place of a term is its column.
        arrays: `data` float32, `indices` int32 and `indptr` int64: the columns of the matrix, compressed.
        count: The number of passages.
        words: How texts become terms.
    """

    def __init__(self, vocabulary: Sequence[str], arrays: Mapping[str, NDArray[Any]], count: int, words: Words) -> None:
        self.vocabulary, self.arrays, self.count, self.words = list(vocabulary), dict(arrays), count, words
        self._column = {term: column for column, term in enumerate(self.vocabulary)}

    @classmethod
    def build(cls, texts: Sequence[str], words: Words) -> Lexical:
        """Index texts; the same texts in the same order give the same arrays."""
        listed = [words.terms(text) for text in texts]
        vocabulary = sorted(set().union(*listed)) if listed else []
        if not vocabulary:
            none = (
                ("data", np.zeros(0, np.float32)),
                ("indices", np.zeros(0, np.int32)),
                ("indptr", np.zeros(1, np.int64)),
            )
            return cls([], dict[str, NDArray[Any]](none), len(texts), words)
        column = {term: place for place, term in enumerate(vocabulary)}
        index = bm25s.BM25(k1=words.k1, b=words.b, method="lucene")
        ids = [[column[term] for term in terms] for terms in listed]
        made = index.build_index_from_ids(list(range(len(vocabulary))), ids, show_progress=False)
        arrays: dict[str, NDArray[Any]] = {
            "data": np.ascontiguousarray(made["data"], np.float32),
            "indices": np.ascontiguousarray(made["indices"], np.int32),
            "indptr": np.ascontiguousarray(made["indptr"], np.int64),
        }
        return cls(vocabulary, arrays, len(texts), words)

    def scores(self, query: str) -> Floats:
        """Return the score of every passage for a query, shape (passages,); 0 where no term is shared."""
        total = np.zeros(self.count, np.float32)
        data, indices, indptr = (self.arrays[name] for name in ("data", "indices", "indptr"))
        for term in self.words.terms(query)[:_MOST_WORDS]:
            column = self._column.get(term)
            if column is not None:
                first, last = indptr[column], indptr[column + 1]
                total[indices[first:last]] += data[first:last]
        return total
