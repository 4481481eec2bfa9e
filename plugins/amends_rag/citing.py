"""Say which passage an answer rests on, by its words; and read an answer without its citations."""

from __future__ import annotations

import re
from collections.abc import Sequence

from amends_rag.squad import normalised

_MARK = re.compile(r"\[(\d+)\]")
_LISTED = re.compile(r"(?:\n\[\d+\] .*)+\s*$")
LEAST = 0.5  # of an answer's words that a passage must have before it is named as the source


def cited(answer: str, most: int) -> list[int]:
    """Return the numbers that an answer names, each once, in order; those that are no passage's are left out."""
    found = dict.fromkeys(int(number) for number in _MARK.findall(answer))
    return [number for number in found if 1 <= number <= most]


def supporting(answer: str, passages: Sequence[str]) -> int | None:
    """Return the number of the passage that an answer rests on, counted from 1, or None.

    That is the first one that says the answer word for word, else the one with the largest share of its words, if that
    is half of them or more.
    """
    wanted = normalised(answer)
    words = set(wanted.split())
    if not words:
        return None
    texts = [normalised(passage) for passage in passages]
    for number, text in enumerate(texts, start=1):
        if f" {wanted} " in f" {text} ":
            return number
    shares = [len(words & set(text.split())) / len(words) for text in texts]
    best = max(range(len(texts)), key=lambda place: (shares[place], -place), default=None)
    return None if best is None or shares[best] < LEAST else best + 1


def without_citations(answer: str) -> str:
    """Return an answer as the model said it: without marks such as `[1]` and the list of sources."""
    return " ".join(_MARK.sub("", _LISTED.sub("", answer)).split())
