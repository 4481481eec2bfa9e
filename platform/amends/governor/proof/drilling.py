"""Take out of a statement how often the audit noticed people of whom it is known whether they are in the model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from amends.records import Reading

DRILL = ".drill/"
"""A probe called `drill` reads what stands in `ASKED`, each alone or with the name of a score behind it."""
ASKED = ("detected", "false_alarm", "erased", "avoided")


def is_drill(name: str) -> bool:
    """Whether a reading is of a drill."""
    return DRILL in name


def has_drilled(readings: Iterable[Reading]) -> bool:
    """Whether a drill had anybody to find."""
    return any(reading.name.endswith(f"{DRILL}detected") and reading.n > 0 for reading in readings)


def drill_of(readings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what a page says of the drill, or None where there was none.

    Args:
        readings: A statement's `before` and `after`.

    Returns:
        `before`, what was `detected` in the parent, and of the candidate each of `ASKED`: a reading with how many
        people were `noticed`, or None; and in `scores` the same by each score alone.
    """
    after = _own(readings["after"])
    if "detected" not in after:
        return None
    scores = [name.removeprefix("detected_") for name in after if name.startswith("detected_")]
    rows = [(name, after[f"detected_{name}"], after.get(f"false_alarm_{name}")) for name in scores]
    return {
        "before": _own(readings["before"]).get("detected"),
        **{name: after.get(name) for name in ASKED},
        "scores": [{"name": name, "detected": seen, "false_alarm": wrong} for name, seen, wrong in rows if wrong],
    }


def _own(readings: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    found = {reading["name"].partition(DRILL)[2]: reading for reading in readings if is_drill(reading["name"])}
    return {name: {**reading, "noticed": _noticed(reading)} for name, reading in found.items()}


def _noticed(reading: Mapping[str, Any]) -> int | None:
    return None if reading["value"] is None else round(reading["value"] * reading["n"])
