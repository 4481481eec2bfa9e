"""How high the right passage stands: recall at k, mean reciprocal rank and nDCG at 10."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from amends_rag.retriever import Hit

LOST = 0
"""The rank of a passage that was not found."""

Measure = Callable[[int], float]


def recall_at(k: int) -> Measure:
    """Return the measure that is 1 where the right passage is among the first k, else 0."""
    return lambda rank: float(LOST < rank <= k)


def reciprocal_rank(rank: int) -> float:
    """Return 1 over the rank of the right passage, 0 where it was not found."""
    return 1 / rank if rank else 0.0


def gain_at_10(rank: int) -> float:
    """Return nDCG at 10 for one right passage: 1 / log2(1 + rank) (Järvelin and Kekäläinen, 2002)."""
    return 1 / math.log2(1 + rank) if LOST < rank <= 10 else 0.0


MEASURES: Mapping[str, Measure] = {
    "recall_at_1": recall_at(1),
    "recall_at_5": recall_at(5),
    "recall_at_10": recall_at(10),
    "mrr": reciprocal_rank,
    "ndcg_at_10": gain_at_10,
}


def rank_of(hits: Sequence[Hit], gold: str) -> int:
    """Return the rank of the first hit that is right, counted in documents' passages as found; 0 if none is.

    Args:
        hits: What was found, the best first.
        gold: The id of the passage or of its document, or the words that a right passage contains.
    """
    wanted = " ".join(gold.split())
    for rank, hit in enumerate(hits, start=1):
        passage = hit.passage
        if gold in (passage.id, passage.document) or wanted in " ".join(passage.text.split()):
            return rank
    return LOST
