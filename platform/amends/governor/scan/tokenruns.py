"""Runs of token ids that only a data subject's records have, and the bytes that such a run is stored as."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

LONGEST = 12  # tokens; a record that agrees with others over more than this at every place has no run
NONZERO = 4  # bytes of a binary needle that must not be zero: small numbers are met by chance
TWO_BYTES = 1 << 16

Ids = tuple[int, ...]


@dataclass(frozen=True, repr=False)
class Run:
    """One run with the sequence it stands in, so that it can be widened."""

    sequence: Ids
    start: int
    end: int

    @property
    def ids(self) -> Ids:
        """The token ids of the run."""
        return self.sequence[self.start : self.end]

    def widened(self) -> Run | None:
        """Return the run with one more neighbour, or None where it is the whole sequence."""
        if self.end < len(self.sequence):
            return Run(self.sequence, self.start, self.end + 1)
        return Run(self.sequence, self.start - 1, self.end) if self.start else None


def own_runs(sequences: Sequence[Ids], kept: Sequence[Ids], shortest: int) -> tuple[Run, ...]:
    """Return every run of at least `shortest` ids that no kept sequence has and that holds no shorter such run.

    Args:
        sequences: The subject's records as token ids.
        kept: The retained records as token ids.
        shortest: Fewest ids in a run.
    """
    return _own_runs(sequences, _shared(sequences, kept), shortest)


def _own_runs(sequences: Sequence[Ids], shared: Mapping[int, set[Ids]], shortest: int) -> tuple[Run, ...]:
    found: dict[Ids, Run] = {}
    for ids in sequences:
        for start in range(len(ids)):
            run = _shortest_own(ids, start, shortest, shared)
            if run is not None:
                found.setdefault(run.ids, run)
    return tuple(found.values())


def _shortest_own(ids: Ids, start: int, shortest: int, shared: Mapping[int, set[Ids]]) -> Run | None:
    for n in range(shortest, min(LONGEST, len(ids) - start) + 1):
        if ids[start : start + n] not in shared[n]:
            inner_is_shared = n == shortest or ids[start + 1 : start + n] in shared[n - 1]
            return Run(ids, start, start + n) if inner_is_shared else None
    return None


def _shared(sequences: Sequence[Ids], kept: Sequence[Ids]) -> dict[int, set[Ids]]:
    """Return, for every length, the runs that both have; a place that shares none of `n` ids shares none of more."""
    shared: dict[int, set[Ids]] = {}
    places: list[tuple[Ids, Sequence[int]]] = [(ids, range(len(ids) - 1)) for ids in kept]
    for n in range(2, LONGEST + 1):
        own = {ids[i : i + n] for ids in sequences for i in range(len(ids) - n + 1)}
        longer = [(ids, [i for i in starts if ids[i : i + n] in own]) for ids, starts in places]
        shared[n] = {ids[i : i + n] for ids, starts in longer for i in starts}
        places = [(ids, [i for i in starts if i + n < len(ids)]) for ids, starts in longer if starts]
    return shared


def written_runs(sequences: Sequence[Ids], kept: Sequence[Ids]) -> Iterator[tuple[str, bytes]]:
    """Yield `(form, bytes)` for every own run in every way that ids are stored."""
    shared = _shared(sequences, kept)
    pairs, triples = _own_runs(sequences, shared, 2), _own_runs(sequences, shared, 3)
    for form, write in (("int32 ids", _packed("i")), ("int64 ids", _packed("q"))):
        yield from _robust(form, pairs, write)
    if all(token < TWO_BYTES for ids in sequences for token in ids):
        yield from _robust("uint16 ids", _own_runs(sequences, shared, 4), _packed("H"))
    yield from _robust("pickled ids", triples, lambda ids: b"".join(map(_pickled, ids)))
    for run in triples:
        for gap in (", ", ",", " ", ",\n    "):
            yield "ids as text", _as_text(run, gap)


def _robust(form: str, runs: Sequence[Run], write: Callable[[Ids], bytes]) -> Iterator[tuple[str, bytes]]:
    for run in runs:
        wide: Run | None = run
        while wide is not None and sum(map(bool, write(wide.ids))) < NONZERO:
            wide = wide.widened()
        if wide is not None:
            yield form, write(wide.ids)


def _packed(letter: str) -> Callable[[Ids], bytes]:
    return lambda ids: struct.pack(f"<{len(ids)}{letter}", *ids)


def _pickled(token: int) -> bytes:
    """Write an id as pickle does inside a list."""
    if token < 256:
        return b"K" + bytes([token])
    return b"M" + struct.pack("<H", token) if token < TWO_BYTES else b"J" + struct.pack("<i", token)


def _as_text(run: Run, gap: str) -> bytes:
    """Write a run as JSON or plain text with its borders, so that 12 is not found in 3124."""
    comma = gap.startswith(",")
    lead = gap[-1] if run.start else "[" if comma else ""
    trail = gap[0] if run.end < len(run.sequence) else "]" if comma else ""
    return f"{lead}{gap.join(map(str, run.ids))}{trail}".encode()
