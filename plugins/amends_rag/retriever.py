"""Answer queries from passages, vectors and words that are all in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amends import BadInput
from amends_rag.chunking import Passage
from amends_rag.dense import TextEncoder
from amends_rag.fusion import Fusion, best
from amends_rag.lexical import Lexical
from amends_rag.reranking import Reranker
from amends_rag.sentences import Embedded

Floats = NDArray[np.float32]

LONGEST_QUERY = 20_000


@dataclass(frozen=True)
class Hit:
    """A passage that was found, with the score it was ranked by and the two that it came from."""

    passage: Passage
    score: float
    dense: float
    lexical: float


class Retriever:
    """Ranks passages for queries; the same query always gets the same answer, and the same words stand in it once.

    Args:
        passages: What is searched.
        embedded: Their unit vectors, and those of their sentences.
        lexical: Their words.
        fusion: How both rankings become one.
        encoder: What embeds queries; None where their vectors are always given.
        reranker: What ranks the best again; None where nothing does.

    Raises:
        BadInput: The parts do not fit together.
    """

    def __init__(
        self,
        passages: Sequence[Passage],
        embedded: Embedded,
        lexical: Lexical,
        fusion: Fusion,
        encoder: TextEncoder | None = None,
        reranker: Reranker | None = None,
    ) -> None:
        if not len(passages) == len(embedded.vectors) == lexical.count:
            raise BadInput(
                f"the index has {len(passages)} passages, {len(embedded.vectors)} vectors and words of "
                f"{lexical.count}; build it again"
            )
        self.passages, self.embedded, self.lexical = list(passages), embedded, lexical
        self.fusion, self.encoder, self.reranker = fusion, encoder, reranker
        firsts = {passage.text: place for place, passage in reversed(list(enumerate(self.passages)))}
        self._repeats = np.array([firsts[one.text] != place for place, one in enumerate(self.passages)], bool)
        self._distinct = len(firsts)

    def search(self, query: str, k: int = 5) -> list[Hit]:
        """Return the k best passages for a query, the best first.

        Raises:
            BadInput: The query is empty or longer than 20,000 characters, or nothing here embeds it.
        """
        if self.encoder is None:
            raise BadInput("nothing here embeds a query; give its vector, or open the index with its encoder")
        return self.search_embedded(check_query(query), self.encoder.embed([query])[0], k)

    def search_many(self, queries: Sequence[str], k: int = 5) -> list[list[Hit]]:
        """Return what `search` returns, for each query."""
        return [self.search(query, k) for query in queries]

    def search_embedded(self, query: str, vector: Floats, k: int = 5) -> list[Hit]:
        """Return the k best passages for a query whose unit vector is known, shape (dimension,)."""
        dense, lexical = self.vectors @ vector, self.lexical.scores(query)
        fused = self._fused(dense, lexical)
        wanted = min(k if self.reranker is None else max(k, self.reranker.rerank.candidates), self._distinct)
        places = best(fused, min(max(wanted, self.fusion.depth), self._distinct))
        if self.fusion.depth and self.fusion.how != "lexical" and len(self.embedded.parts):
            dense[places] = self.embedded.nearest(places, vector)
            fused = self._fused(dense, lexical)
        places = places[best(fused[places], wanted)]
        scores = fused[places]
        if self.reranker is not None:
            scores = self.reranker.scores(query, [self.passages[place].text for place in places])
        return [
            Hit(self.passages[place], float(score), float(dense[place]), float(lexical[place]))
            for place, score in ((places[one], scores[one]) for one in best(scores, k))
        ]

    def _fused(self, dense: Floats, lexical: Floats) -> Floats:
        """Return the fused scores; what an earlier passage says in the same words comes after all else."""
        return np.where(self._repeats, np.float32(-np.inf), self.fusion.fuse(dense, lexical))

    @property
    def vectors(self) -> Floats:
        """The unit vectors of the passages, shape (passages, dimension)."""
        return self.embedded.vectors


def check_query(query: str) -> str:
    """Return the query.

    Raises:
        BadInput: It is empty or longer than 20,000 characters.
    """
    if not query.strip():
        raise BadInput("the query is empty; ask something")
    if len(query) > LONGEST_QUERY:
        raise BadInput(
            f"the query has {len(query)} characters, more than {LONGEST_QUERY}; ask one question, "
            "and add long texts to the index instead"
        )
    return query
