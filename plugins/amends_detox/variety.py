"""Whether a model says different things, or one thing again and again."""

from __future__ import annotations

import math
from collections.abc import Sequence


def distinct(texts: Sequence[str], size: int) -> float:
    """Return the number of different n-grams in the continuations of one prompt over the number of their words.

    As Liu et al. (2021, DExperts, section 3.1) count it: after Li et al. (2016), the divisor being all words whatever
    the size. Words are what spaces separate.

    Args:
        texts: The continuations of one prompt.
        size: n.

    Returns:
        In [0, 1]; NaN where there is no word at all.
    """
    split = [text.split() for text in texts]
    words = sum(map(len, split))
    seen = {tuple(one[start : start + size]) for one in split for start in range(len(one) - size + 1)}
    return len(seen) / words if words else math.nan
