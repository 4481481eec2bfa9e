"""The rows that probes of this package read: every field they need, or a sentence that says which is missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amends import BadRecords, Records


def rows_of(records: Records, *texts: str) -> list[dict[str, Any]]:
    """Return the rows of some records.

    Args:
        records: What a probe was given.
        texts: Fields that every row must have, as texts that are not empty.

    Raises:
        BadRecords: A row lacks one.
    """
    rows = list(records.rows())
    for number, row in enumerate(rows, start=1):
        for name in texts:
            text_in(row, name, f"records {records.digest[:12]}, row {number}")
    return rows


def text_in(row: Mapping[str, Any], name: str, where: str) -> str:
    """Return a text of a row.

    Raises:
        BadRecords: It is missing or empty.
    """
    text = row.get(name)
    if not isinstance(text, str) or not text.strip():
        raise BadRecords(f"{where}: {name} must be a text that is not empty")
    return text


def ids_of(rows: list[dict[str, Any]]) -> list[str]:
    """Return what each row is called; intervals draw rows anew by it."""
    return [str(row.get("id", place)) for place, row in enumerate(rows)]
