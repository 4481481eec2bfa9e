"""What scorers say, checked in one place: nobody's NaN, and nobody's logit, becomes a reading."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amends import BadInput
from amends_detox.scoring import ToxicityScorer, identity

Array = NDArray[Any]


def scores(scorer: ToxicityScorer, texts: Sequence[str]) -> Array:
    """Return the scores of texts, shape (texts, attributes).

    Raises:
        BadInput: The scorer gave another shape, something that is not a finite number, or a number outside [0, 1].
    """
    if not texts:
        return np.empty((0, len(scorer.attributes)))
    found = np.asarray(scorer.score(list(texts)), dtype=float)
    wanted = (len(texts), len(scorer.attributes))
    if found.shape != wanted:
        raise BadInput(f"the scorer {identity(scorer)} gave the shape {found.shape} instead of {wanted}; use another")
    if not np.isfinite(found).all() or found.min() < 0 or found.max() > 1:
        raise BadInput(f"the scorer {identity(scorer)} gave scores outside [0, 1] or no numbers; use another")
    return found


def toxicity(scorer: ToxicityScorer, texts: Sequence[str]) -> Array:
    """Return how toxic texts are, shape (texts,); the first attribute of every scorer.

    Raises:
        BadInput: The scorer gave something else.
    """
    column: Array = scores(scorer, texts)[:, 0]
    return column
