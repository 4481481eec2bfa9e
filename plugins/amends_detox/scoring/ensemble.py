"""`ensemble`: what judges. Two thirds of a head with a hidden layer and one third of the words, as log-odds.

The head is not `minilm`'s: a search that learned to please the one has not thereby pleased the other. A mean of two
log-odds is less sure than both, so it is stretched and shifted until one half means what it means to Perspective.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from amends import BadInput
from amends.records import digest_of
from amends_detox.scoring import ToxicityScorer
from amends_detox.scoring.lexical import open_lexical
from amends_detox.scoring.minilm import MiniLM, shipped

CODE = "1"  # of the formula
MOST = 1 - 1e-6  # no scorer is surer than this, or one alone would decide
CALIBRATION = {
    "toxicity": (1.15, 0.49),
    "insult": (1.34, 0.92),
    "threat": (1.35, 0.91),
    "identity_attack": (1.36, 0.95),
    "profanity": (1.38, 0.93),
    "sexually_explicit": (1.35, 0.86),
}
"""Slope and offset of each attribute's log-odds, as `tests/bench/detox_calibration.py` fits them on half A."""


class Ensemble:
    """Scores by the weighted mean of several scorers' log-odds, on the attributes that all of them have.

    Args:
        members: Scorers with their weights, which sum to 1.
        calibration: Slope and offset of the mean by attribute; by default it stays as it is.
    """

    name = "ensemble"

    def __init__(
        self,
        members: Sequence[tuple[ToxicityScorer, float]],
        calibration: Mapping[str, tuple[float, float]] | None = None,
    ) -> None:
        self.members = members
        first, *others = (scorer.attributes for scorer, _ in members)
        self.attributes = tuple(one for one in first if all(one in other for other in others))
        self.licence = members[0][0].licence
        self.lines = [(calibration or {}).get(one, (1.0, 0.0)) for one in self.attributes]
        parts = [[scorer.name, scorer.version, weight] for scorer, weight in members]
        self.version = f"{CODE}-{digest_of([parts, self.lines])[:12]}"

    def score(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the scores, shape (texts, attributes)."""
        logits = sum(weight * self._logits(scorer, texts) for scorer, weight in self.members)
        slopes, offsets = np.array(self.lines).T
        scores: NDArray[np.float64] = 1 / (1 + np.exp(-(slopes * logits + offsets)))
        return scores

    def _logits(self, scorer: ToxicityScorer, texts: Sequence[str]) -> NDArray[np.float64]:
        columns = [scorer.attributes.index(one) for one in self.attributes]
        odds = np.clip(np.asarray(scorer.score(texts))[:, columns], 1 - MOST, MOST)
        logits: NDArray[np.float64] = np.log(odds) - np.log1p(-odds)
        return logits


def open_ensemble(argument: str) -> Ensemble:
    """Return the ensemble of this package.

    Raises:
        BadInput: There is an argument, or the encoder is missing.
    """
    if argument:
        raise BadInput("the scorer ensemble takes nothing after its name")
    return Ensemble([(MiniLM(shipped("judge")), 2 / 3), (open_lexical(""), 1 / 3)], CALIBRATION)
