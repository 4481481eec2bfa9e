"""Compare a generated answer with the true one: ROUGE-L over words (Lin, 2004)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class RougeL:
    """Longest common subsequence of words, as a share of the true answer, of the generated one, and of both."""

    recall: float
    precision: float

    @property
    def f1(self) -> float:
        """The harmonic mean of recall and precision; 0 where both are."""
        total = self.recall + self.precision
        return 2 * self.recall * self.precision / total if total else 0.0


def words_of(text: str) -> list[str]:
    """Return the lower-case words and numbers of a text, in any script, without stemming."""
    return WORD.findall(text.lower())


def rouge_l(truth: str, generated: str) -> RougeL:
    """Return ROUGE-L of a generated answer; a side without words gives 0."""
    expected, said = words_of(truth), words_of(generated)
    if not expected or not said:
        return RougeL(0.0, 0.0)
    common = longest_common_subsequence(expected, said)
    return RougeL(common / len(expected), common / len(said))


def longest_common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest sequence of words that both have in this order, with gaps."""
    row = [0] * (len(second) + 1)
    for word in first:
        diagonal = 0
        for column, other in enumerate(second, start=1):
            above = row[column]
            row[column] = diagonal + 1 if word == other else max(above, row[column - 1])
            diagonal = above
    return row[-1]
