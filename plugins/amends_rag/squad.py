"""Compare answers as SQuAD does: normalised, exactly, and by the words that they share (Rajpurkar et al., 2016)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_MARKS = str.maketrans("", "", string.punctuation)


def normalised(text: str) -> str:
    """Return a text in lower case, without punctuation and articles, its white space made single."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_MARKS)).split())


def exact_match(said: str, gold: str) -> float:
    """Return 1 where both are the same after normalising, else 0."""
    return float(normalised(said) == normalised(gold))


def f1(said: str, gold: str) -> float:
    """Return the harmonic mean of precision and recall over the words of both; two empty texts agree."""
    ours, theirs = normalised(said).split(), normalised(gold).split()
    if not ours or not theirs:
        return float(ours == theirs)
    shared = sum((Counter(ours) & Counter(theirs)).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(ours), shared / len(theirs)
    return 2 * precision * recall / (precision + recall)


def best_of(measure: Callable[[str, str], float], said: str, golds: Sequence[str]) -> float:
    """Return the best that an answer reaches against any right one, as SQuAD counts."""
    return max((measure(said, gold) for gold in golds), default=0.0)
