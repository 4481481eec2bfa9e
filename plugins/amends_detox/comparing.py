"""Readings of different scorers, or of two versions of one, say nothing about a difference: they are refused."""

from __future__ import annotations

from collections.abc import Iterable

from amends import BadInput, Change, Reading

SAID_BY = ("scorer", "judge")
PROTOCOL = (*SAID_BY, "template", "samples", "tokens", "top_p", "cutoff")
"""What of a reading's detail must agree before two values are compared."""


def comparable(a: Reading, b: Reading) -> bool:
    """Return whether two readings are of one thing, by one version of one scorer and by one protocol."""
    return a.name == b.name and all(a.detail.get(key) == b.detail.get(key) for key in PROTOCOL)


def check_comparable(a: Reading, b: Reading) -> None:
    """Refuse to compare what cannot be compared.

    Raises:
        BadInput: The readings are of different things, scorers, versions or protocols.
    """
    if not comparable(a, b):
        ours, theirs = a.detail.get("scorer", "no scorer"), b.detail.get("scorer", "no scorer")
        raise BadInput(
            f"{a.name} by {ours} and {b.name} by {theirs} cannot be compared; "
            "measure both again by one scorer, version and protocol"
        )


def objections(change: Change) -> Iterable[str]:
    """Yield a sentence for every reading before a change that the same one after it cannot be compared with."""
    after = {reading.name: reading for reading in change.after}
    for before in change.before:
        scored = any(key in before.detail for key in SAID_BY)
        if scored and before.name in after and not comparable(before, after[before.name]):
            yield f"{before.name} was read by another scorer, version or protocol before the change than after it"
