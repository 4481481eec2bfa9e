"""What a passport must say against its version: the limits that follow from what is, and is not, on record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Told = Mapping[str, Any]
GUARANTEES = {
    "approximate": "The change was judged by measurements; a stronger test may find what these did not.",
    "exact by data flow": "Everything after the last clean state was computed again; bits were not compared.",
}
BASE = "What the base model learnt before it came here is not on record, and was not examined."
UNMEASURED = "No readings stand in the ledger for this version: nothing here says how well or how safely it answers."
UNJUDGED = "No policy has judged this version."
DECLARED = "Part of its origin was declared by people; nobody here observed it."


def known_limits(passport: Told) -> list[str]:
    """Return the limits of a version, one sentence each."""
    return list(dict.fromkeys((*_of_status(passport), *_of_origin(passport), *_of_evidence(passport))))


def _of_status(passport: Told) -> Iterator[str]:
    version = passport["version"]
    if version["status"] == "quarantined":
        since = version["quarantines"][-1]["at"][:10]
        yield f"This version was quarantined on {since}; it must not be put into service or handed out."
    elif version["quarantines"]:
        yield "This version was quarantined before, and released by somebody else once its bytes had been verified."
    if version["status"] == "sealed":
        yield "This version was superseded and sealed; it must not be put into service."
    if version["status"] == "purged":
        yield "This version was purged: its files are gone, and this passport describes a tombstone."
    if passport["anatomy"] is None and version["status"] != "purged":
        yield "The files of this version could not be read, so its architecture and size are not stated."
    if version["guarantee"] in GUARANTEES:
        yield GUARANTEES[version["guarantee"]]


def _of_origin(passport: Told) -> Iterator[str]:
    yield BASE
    if passport["evidence"] == "declared":
        yield DECLARED
    yield from (f"Licences: {sentence}." for sentence in passport["licences"]["conflicts"])
    yield from (f"Licences: {sentence}." for sentence in passport["licences"]["unknown"])


def _of_evidence(passport: Told) -> Iterator[str]:
    read = passport["readings"]["after"]
    if not passport["decisions"]:
        yield UNJUDGED
    if not read:
        yield UNMEASURED
    bare = [reading["name"] for reading in read if reading["low"] is None or reading["high"] is None]
    if bare:
        yield f"These readings have no interval, so how sure they are is not stated: {', '.join(bare)}."
    failed = [reading["name"] for reading in read if reading["value"] is None]
    if failed:
        yield f"These readings gave no finite number: {', '.join(failed)}."
    for decision in passport["decisions"]:
        for answer in decision["answers"]:
            if not answer["passed"] and decision["allowed"]:
                yield f"Alarm of the policy {decision['policy']}: {answer['message']}"
    denied = sum(not decision["allowed"] for decision in passport["decisions"])
    if denied:
        yield f"Policies said no {denied} times in the case that made it; see its decisions."
