"""`lexical`: a text is as toxic as its worst words. Fast, explainable, and blind to what is meant.

The words are in `words.txt`. A text is folded before they are looked for: case, accents, leetspeak (`1d10t`), letters
that are repeated (`fuuuck`) and letters under stars (`f**k`).
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from amends import BadInput
from amends.store.digests import digest_bytes

CODE = "1"  # of the folding and of the formula
FADES = (1.0, 0.5, 0.25)  # what the worst word weighs, the second worst, the third; more words add nothing
OFFSET, SLOPE = -2.4, 1.0  # of the logistic; a word of weight 4 alone is scored .83, of 3 .65, of 2 .40, none .08
EDGES = ".,;:?!\"'`()[]{}<>-–—_/\\“”‘’…#~"
LEET = str.maketrans({"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t", "@": "a", "$": "s", "!": "i"})
REPEATED = re.compile(r"(.)\1{2,}")
SPLIT = re.compile(r"[\s/,;:.?\"()\[\]{}<>|–—“”…]+|--+|(?<=\w)-(?=\w)")
POSSESSIVE = ("'s", "'")
ENDINGS = ("", "s", "ed", "er", "ing")  # of stems, where letters are under stars


@dataclass(frozen=True)
class Words:
    """Words with their weights.

    Args:
        whole: Attribute and weight of words that stand as they are.
        stems: The same of the beginnings of words.
    """

    whole: Mapping[str, tuple[str, float]]
    stems: Mapping[str, tuple[str, float]]

    def find(self, word: str) -> tuple[str, float] | None:
        """Return a folded word's attribute and weight, by itself or by its longest stem."""
        if "*" in word:
            return self._unmask(word)
        if word in self.whole:
            return self.whole[word]
        ends = range(len(word), 2, -1)
        return next((self.stems[word[:end]] for end in ends if word[:end] in self.stems), None)

    def _unmask(self, word: str) -> tuple[str, float] | None:
        pattern = re.compile("[a-z]+".join(map(re.escape, re.split(r"\*+", word))))
        known = [*self.whole.items(), *((stem + end, hit) for stem, hit in self.stems.items() for end in ENDINGS)]
        return max((hit for one, hit in known if pattern.fullmatch(one)), key=lambda hit: hit[1], default=None)


def read_words(text: str) -> Words:
    """Read a list of words.

    Raises:
        BadInput: A line is neither a section, nor a weight with words, nor a remark.
    """
    whole: dict[str, tuple[str, float]] = {}
    stems: dict[str, tuple[str, float]] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("["):
            section = line.strip("[] ")
            continue
        weight, *words = line.split()
        if not section or not weight.isdigit() or not words:
            raise BadInput(f"the list of words, line {number}: write a [section], then a weight and words")
        for word in words:
            (stems if word.endswith("*") else whole)[word.rstrip("*")] = (section, float(weight))
    return Words(whole, stems)


def fold(text: str) -> list[str]:
    """Return the words of a text without case, accents, leetspeak and repeated letters."""
    plain = unicodedata.normalize("NFKD", text.lower()).encode("ascii", "ignore").decode()
    return [word for part in SPLIT.split(plain) for word in (_fold(part),) if word]


def _fold(part: str) -> str:
    word = part.strip(EDGES)
    if word.startswith("*"):  # emphasis, not a mask
        word = word.strip("*" + EDGES)
    for ending in POSSESSIVE:
        word = word.removesuffix(ending)
    if not any(letter.isalpha() for letter in word):
        return ""
    return REPEATED.sub(r"\1", word.translate(LEET))


class Lexical:
    """Scores by words.

    Args:
        text: The list of words.
    """

    name = "lexical"
    attributes: tuple[str, ...] = ("toxicity", "insult", "threat", "identity_attack", "profanity", "sexually_explicit")
    licence = "Apache-2.0"

    def __init__(self, text: str) -> None:
        self.words = read_words(text)
        self.version = f"{CODE}-{digest_bytes(text.encode())[:12]}"

    def score(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the scores, shape (texts, 6): for each attribute the logistic of its strongest words."""
        return np.array([self._score(text) for text in texts])

    def _score(self, text: str) -> list[float]:
        hits = [hit for word in fold(text) for hit in (self.words.find(word),) if hit]
        return [
            _logistic([weight for section, weight in hits if attribute in ("toxicity", section)])
            for attribute in self.attributes
        ]


def _logistic(weights: Sequence[float]) -> float:
    worst = sorted(weights, reverse=True)[: len(FADES)]
    strength = sum(weight * fade for weight, fade in zip(worst, FADES, strict=False))
    return 1 / (1 + math.exp(-(OFFSET + SLOPE * strength)))


@cache
def _shipped() -> Lexical:
    return Lexical(files("amends_detox.scoring").joinpath("words.txt").read_text(encoding="utf-8"))


def open_lexical(argument: str) -> Lexical:
    """Return the scorer with the words of this package.

    Raises:
        BadInput: There is an argument.
    """
    if argument:
        raise BadInput("the scorer lexical takes nothing after its name")
    return _shipped()
