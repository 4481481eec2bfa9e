"""Take one person's names out of a record that a reviewer wants to keep otherwise."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from amends.errors import BadInput
from amends.governor.data.rows import text_of
from amends.records import NO_TEXT
from amends.vault.identifiers import Finder

BLANK = "[redacted]"
LONGEST = 5  # words
_WORD = re.compile(r"\S+")


def redact(row: Mapping[str, Any], finder: Finder) -> dict[str, Any]:
    """Return a record in which nothing names the person any more, not even nearly.

    Raises:
        BadInput: The record still names them afterwards.
    """
    clean = {name: value if name in NO_TEXT else _without(value, finder) for name, value in row.items()}
    match = finder.find(text_of(clean))
    if match.exact or match.near is not None:
        raise BadInput(f"record {row['id']} cannot be redacted; mark it erase or keep")
    return clean


def _without(value: Any, finder: Finder) -> Any:
    if isinstance(value, str):
        return _blank(value, finder)
    if isinstance(value, Mapping):
        return {name: _without(inner, finder) for name, inner in value.items()}
    return [_without(inner, finder) for inner in value] if isinstance(value, list) else value


def _blank(text: str, finder: Finder) -> str:
    """Blank every run of words that names the person, the longest runs first."""
    for length in range(LONGEST, 0, -1):
        words = list(_WORD.finditer(text))
        for first in range(len(words) - length, -1, -1):
            start, end = words[first].start(), words[first + length - 1].end()
            match = finder.find(text[start:end])
            if match.exact or match.near is not None:
                text = f"{text[:start]}{BLANK}{text[end:]}"
                return _blank(text, finder)
    return text
