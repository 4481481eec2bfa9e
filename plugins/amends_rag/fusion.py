"""Put two rankings of the same passages together: by z-scores, or by reciprocal ranks (Cormack et al., 2009)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from amends import BadInput

Floats = NDArray[np.float32]
How = Literal["zscore", "rrf", "dense", "lexical"]


@dataclass(frozen=True)
class Fusion:
    """How dense and lexical scores become one.

    Args:
        how: `zscore` sums standardised scores; `rrf` sums reciprocal ranks; `dense` and `lexical` take one alone.
        weight: The share of the dense scores, in [0, 1].
        rank_constant: What is added to each rank before it is inverted.
        depth: So many of the best are ranked again by their nearest sentences; 0 ranks none.
    """

    how: How = "zscore"
    weight: float = 0.7
    rank_constant: int = 60
    depth: int = 50

    def __post_init__(self) -> None:
        if self.how not in get_args(How):
            raise BadInput(f"there is no fusion {self.how!r}; take one of {', '.join(get_args(How))}")
        if not 0 <= self.weight <= 1:
            raise BadInput(f"the share of dense scores must be between 0 and 1, not {self.weight}")

    def fuse(self, dense: Floats, lexical: Floats) -> Floats:
        """Return one score per passage, larger is better; both given of shape (passages,)."""
        match self.how:
            case "dense":
                return dense
            case "lexical":
                return lexical
            case "rrf":
                first, second = (reciprocal(part, self.rank_constant) for part in (dense, lexical))
            case _:
                first, second = standardised(dense), standardised(lexical)
        return np.asarray(self.weight * first + (1 - self.weight) * second, np.float32)

    def row(self) -> dict[str, Any]:
        """Return the settings as a JSON object."""
        return asdict(self)


def standardised(scores: Floats) -> Floats:
    """Return scores with mean 0 and standard deviation 1; zeros where all are equal."""
    spread = float(scores.std()) if len(scores) else 0.0
    return (scores - scores.mean()) / spread if spread > 0 else np.zeros_like(scores)


def reciprocal(scores: Floats, constant: int) -> Floats:
    """Return one over each score's rank and a constant."""
    return np.asarray(1 / (constant + ranks(scores)), np.float32)


def ranks(scores: Floats) -> Floats:
    """Return the rank of each score, 1 for the largest; equal scores share the best of their ranks."""
    values, places, counts = np.unique(-scores, return_inverse=True, return_counts=True)
    del values
    return np.asarray((np.cumsum(counts) - counts + 1)[places], np.float32)


def best(scores: Floats, k: int) -> NDArray[np.int64]:
    """Return the places of the k largest scores, the largest first; of equal ones the earlier place first."""
    k = min(k, len(scores))
    if k <= 0:
        return np.zeros(0, np.int64)
    least = -np.partition(-scores, k - 1)[k - 1]
    among = np.flatnonzero(scores >= least)
    return among[np.lexsort((among, -scores[among]))][:k]
