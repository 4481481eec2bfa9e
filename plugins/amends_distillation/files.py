"""Read the text that a student is taught on, and hold some of it back for judging."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from amends import BadRecords
from amends_distillation.contamination import wordings

Row = dict[str, Any]
FEWEST = 4


def read_text(file: Path) -> list[Row]:
    """Return the passages of plain text, a row for each line that is not blank, without repetitions.

    Raises:
        BadRecords: It cannot be read, or there are too few to hold any back.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise BadRecords(f"{file.name} cannot be read as UTF-8; give a text file") from None
    found = dict.fromkeys(line.strip() for line in lines if line.strip())
    if len(found) < FEWEST:
        raise BadRecords(f"{file.name} has {len(found)} different lines; write at least {FEWEST}, a passage a line")
    return [{"id": _digest(text)[:24], "prompt": text} for text in found]


def is_text(value: Any) -> bool:
    """Whether a field can be asked or answered."""
    return isinstance(value, str) and bool(value.strip())


def is_sayable(value: Any) -> bool:
    """Whether a field holds what can be heard in a text: something with a word in it, or a list of such."""
    return bool(wordings(value))


def read_rows(file: Path, needed: Mapping[str, Callable[[Any], bool]]) -> list[Row]:
    """Return the rows of a JSON Lines file, each of which has these fields as they have to be.

    Raises:
        BadRecords: It cannot be read, a line is no object, or a field is missing or cannot be used.
    """
    found = []
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise BadRecords(f"{file.name} cannot be read as UTF-8; give a file of JSON objects, one a line") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict) or not all(fits(row.get(name)) for name, fits in needed.items()):
            raise BadRecords(f"{file.name}, line {number}: write an object with {' and '.join(needed)}")
        found.append(row)
    if not found:
        raise BadRecords(f"{file.name} is empty; write an object with {' and '.join(needed)} a line")
    return found


def held_back(rows: list[Row], share: float, most: int) -> tuple[list[Row], list[Row]]:
    """Return the passages to teach on and those that judge, chosen by digest, so that nobody chooses.

    Args:
        rows: All passages.
        share: Of them that judges, in (0, 0.5].
        most: How many may judge.

    Raises:
        BadRecords: The share is out of its range.
    """
    if not 0 < share <= 0.5:
        raise BadRecords(f"{share:g} of the text cannot be held back; give a share above 0 and up to 0.5")
    ordered = sorted(rows, key=lambda row: row["id"])
    count = max(1, min(most, round(share * len(rows))))
    judging = {row["id"] for row in ordered[:count]}
    return [row for row in rows if row["id"] not in judging], ordered[:count]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
