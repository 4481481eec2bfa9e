"""Recognise names in a question by keyed hashes, so that a version carries none of them in clear."""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from collections.abc import Iterable, Iterator

from anyascii import anyascii

POSSESSIVE = re.compile(r"['’]s\b")
WORD = re.compile(r"[a-z0-9]+")
JOINED = re.compile(r"['’.]")
LONGEST = 4


def words_of(text: str) -> list[str]:
    """Return a text's words as they are compared: no case, no accents, no punctuation, no possessive s."""
    plain = POSSESSIVE.sub("", unicodedata.normalize("NFKC", text).casefold())
    return WORD.findall(anyascii(JOINED.sub("", plain)).casefold())


def mac(salt: str, words: Iterable[str]) -> str:
    """Return the keyed hash of some words in a row; without the salt it says nothing."""
    return hmac.new(bytes.fromhex(salt), " ".join(words).encode(), hashlib.sha256).hexdigest()


def windows(words: list[str], longest: int) -> Iterator[tuple[int, list[str]]]:
    """Yield where each run of up to `longest` words begins and its words; longer runs first at each place."""
    for start in range(len(words)):
        for length in range(min(longest, len(words) - start), 0, -1):
            yield start, words[start : start + length]
