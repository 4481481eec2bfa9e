"""Find thousands of byte strings in gigabytes at once, by looking at one aligned word in four bytes.

A pattern of seven bytes or more that starts anywhere covers at least one whole aligned
4-byte word of the text, and that word is one of four consecutive windows of the pattern.
So only every fourth position of the text is looked up, in one table, and what the table
lets through is compared byte for byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

WORD = 4
SHORTEST = 2 * WORD - 1
_BITS = 18
_MULTIPLIER = 0x9E3779B1


class Matcher:
    """A compiled set of byte patterns; `find` names each by its place in the sequence it was given."""

    def __init__(self, patterns: Sequence[bytes]) -> None:
        self._patterns = tuple(patterns)
        if not all(self._patterns):
            raise ValueError("an empty pattern is found everywhere; leave it out")
        self.longest = max(map(len, self._patterns), default=0)
        self._short = [number for number, pattern in enumerate(self._patterns) if len(pattern) < SHORTEST]
        self._compile([number for number, pattern in enumerate(self._patterns) if len(pattern) >= SHORTEST])

    def __repr__(self) -> str:
        return f"Matcher({len(self._patterns)} patterns)"

    def find(self, text: bytes) -> list[tuple[int, int]]:
        """Return `(position, pattern)` for every occurrence, in no particular order."""
        found = [(place, number) for number in self._short for place in _places(text, self._patterns[number])]
        return found + self._find_long(text)

    def _compile(self, numbers: list[int]) -> None:
        import numpy as np

        entries = _windows(self._patterns, numbers)
        words = np.array([entry[0] for entry in entries], dtype=np.uint32)
        self._keys, self._first, self._count = np.unique(words, return_index=True, return_counts=True)
        self._entry_pattern = np.array([entry[1] for entry in entries], dtype=np.int64)
        self._entry_offset = np.array([entry[2] for entry in entries], dtype=np.int64)
        self._lengths = np.array([len(pattern) for pattern in self._patterns], dtype=np.int64)
        edges = [(pattern[:WORD], pattern[-WORD:]) for pattern in self._patterns]
        self._heads = np.array([_word(head) for head, _ in edges], dtype=np.uint32)
        self._tails = np.array([_word(tail) for _, tail in edges], dtype=np.uint32)
        self._table = np.zeros(1 << _BITS, dtype=bool)
        self._table[_hash(self._keys)] = True

    def _find_long(self, text: bytes) -> list[tuple[int, int]]:
        import numpy as np

        if len(text) < SHORTEST or not len(self._keys):
            return []
        words = np.frombuffer(text, dtype="<u4", count=len(text) // WORD)
        places = np.flatnonzero(self._table[_hash(words)])
        slots = np.minimum(np.searchsorted(self._keys, words[places]), len(self._keys) - 1)
        real = self._keys[slots] == words[places]
        return self._confirm(text, places[real] * WORD, slots[real])

    def _confirm(self, text: bytes, places: Any, slots: Any) -> list[tuple[int, int]]:
        """Compare each candidate's first and last word, then all of it."""
        import numpy as np

        counts = self._count[slots]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        entries = np.repeat(self._first[slots], counts) + within
        patterns = self._entry_pattern[entries]
        starts = np.repeat(places, counts) - self._entry_offset[entries]
        inside = (starts >= 0) & (starts + self._lengths[patterns] <= len(text))
        starts, patterns = starts[inside], patterns[inside]
        at = np.ndarray((len(text) - WORD + 1,), dtype="<u4", buffer=text, strides=(1,))
        ends = starts + self._lengths[patterns] - WORD
        alike = (at[starts] == self._heads[patterns]) & (at[ends] == self._tails[patterns])
        pairs = zip(starts[alike].tolist(), patterns[alike].tolist(), strict=True)
        return [(start, number) for start, number in pairs if text.startswith(self._patterns[number], start)]


def _windows(patterns: Sequence[bytes], numbers: list[int]) -> list[tuple[int, int, int]]:
    """Choose four consecutive windows of each pattern, rare ones where it is long; sorted by word."""
    used: dict[int, int] = {}
    entries = []
    for number in sorted(numbers, key=lambda number: len(patterns[number])):
        words = _all_words(patterns[number])
        costs = [used.get(word, 0) + 64 * _plainness(word) for word in words]
        start = min(range(len(words) - WORD + 1), key=lambda at: sum(costs[at : at + WORD]))
        for offset in range(start, start + WORD):
            used[words[offset]] = used.get(words[offset], 0) + 1
            entries.append((words[offset], number, offset))
    return sorted(entries)


def _all_words(pattern: bytes) -> list[int]:
    return [_word(pattern[at : at + WORD]) for at in range(len(pattern) - WORD + 1)]


def _plainness(word: int) -> int:
    """Return how many pairs of bytes in a word are equal: runs of zeros or spaces are everywhere."""
    data = word.to_bytes(WORD, "little")
    return sum(data[i] == data[j] for i in range(WORD) for j in range(i))


def _word(data: bytes) -> int:
    return int.from_bytes(data, "little")


def _hash(words: Any) -> Any:
    import numpy as np

    return (words * np.uint32(_MULTIPLIER)) >> np.uint32(32 - _BITS)


def _places(text: bytes, pattern: bytes) -> list[int]:
    found, place = [], text.find(pattern)
    while place >= 0:
        found.append(place)
        place = text.find(pattern, place + 1)
    return found
