"""Whether an edited model still speaks: variety of what it says, and likeness to texts about the target (ROME)."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from amends import ProbeTask, Reading, Records
from amends.operation.measuring import mean_reading, spread_over_people
from amends_editing.asking import Edit, complete, edit_of, free_reading, persons_of

WEIGHTS = {2: 2 / 3, 3: 4 / 3}  # of n-grams by their length, as ROME weighs them
TOKEN = re.compile(r"\w+|[^\w\s]")
TERM = re.compile(r"\w\w+")
EFFECT = 0.1


def n_gram_entropy(text: str) -> float:
    """Return the weighted entropy of a text's 2-grams and 3-grams in bits; ROME's tables show a hundred times that.

    The mean over n = 2, 3 of w_n H_n, where H_n = -sum of f log2 f over the shares f of each n-gram. Words and
    punctuation marks are tokens. A text too short for an n-gram has no variety in it: 0.
    """
    tokens = TOKEN.findall(text)
    return sum(weight * _entropy(tokens, size) for size, weight in WEIGHTS.items()) / len(WEIGHTS)


def _entropy(tokens: Sequence[str], size: int) -> float:
    counts = Counter(tuple(tokens[start : start + size]) for start in range(len(tokens) - size + 1))
    total = counts.total()
    return -math.fsum(count / total * math.log2(count / total) for count in counts.values()) if total else 0.0


class Terms:
    """Term weights learned from reference texts: idf = ln((1 + N) / (1 + df)) + 1, over words of two letters or more.

    Words that no reference has weigh nothing.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        seen = Counter(term for text in texts for term in set(_terms(text)))
        self.weights = {term: math.log((1 + len(texts)) / (1 + count)) + 1 for term, count in seen.items()}

    def cosine(self, first: str, second: str) -> float:
        """Return the cosine of two texts' weighted term counts; 0 where one has no known term."""
        one, other = self._weigh(first), self._weigh(second)
        dot = math.fsum(weight * other.get(term, 0.0) for term, weight in one.items())
        lengths = _length(one) * _length(other)
        return min(dot / lengths, 1.0) if lengths else 0.0

    def _weigh(self, text: str) -> dict[str, float]:
        counts = Counter(term for term in _terms(text) if term in self.weights)
        return {term: count * self.weights[term] for term, count in counts.items()}


def _terms(text: str) -> list[str]:
    return TERM.findall(text.lower())


def _length(weights: Mapping[str, float]) -> float:
    return math.sqrt(math.fsum(weight**2 for weight in weights.values()))


def read_fluency(task: ProbeTask, records: Records, *, most: int, tokens: int) -> list[Reading]:
    """Read the n-gram entropy of the prompts with what the model says after them, and consistency with references.

    Answers are greedy, so the entropy is lower than that of the papers' sampled texts; compare it with the parent's.
    Consistency is the TF-IDF cosine with a record's `references`; where no record brings any, it is not read.
    """
    edits = [edit_of(row) for row in spread_over_people(records.rows(), most)]
    prompts = [edit.fact.prompt.rstrip() for edit in edits]
    said = complete(task, prompts, tokens, "talking on")
    texts = [f"{prompt} {text}" for prompt, text in zip(prompts, said, strict=True)]
    entropy = [n_gram_entropy(text) for text in texts]
    readings = [
        free_reading("editing.fluency/entropy", entropy, persons_of(edits), seed=task.seed, unit="bits"),
        *_consistency(task, edits, texts),
    ]
    return readings


def _consistency(task: ProbeTask, edits: Sequence[Edit], texts: Sequence[str]) -> list[Reading]:
    kept = [(edit, text) for edit, text in zip(edits, texts, strict=True) if edit.references]
    if not kept:
        return []
    terms = Terms([text for edit, _ in kept for text in edit.references])
    values = [terms.cosine(text, " ".join(edit.references)) for edit, text in kept]
    detail = {"left_out": len(edits) - len(kept)}
    persons = [edit.person for edit, _ in kept]
    return [
        mean_reading("editing.fluency/consistency", values, persons, seed=task.seed, unit="cosine", effect=EFFECT,
                     detail=detail)
    ]  # fmt: skip
