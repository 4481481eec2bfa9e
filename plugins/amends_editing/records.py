"""One record of somebody's file, read field by field; what is wrong is said with its place and never with its text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from amends import BadRecords


@dataclass(frozen=True)
class Record:
    """A JSON object and where it stands.

    Args:
        where: The file and the line or number, such as `facts.jsonl, line 3`.
        values: Its fields.
        inside: The field that this object is the value of, with a dot after it; empty for a record itself.
    """

    where: str
    values: Mapping[str, Any] = field(repr=False)
    inside: str = ""

    def __contains__(self, name: str) -> bool:
        return self.values.get(name) is not None

    def text(self, name: str) -> str:
        """Return a field that must be there.

        Raises:
            BadRecords: It is missing, blank or no text.
        """
        found = self.optional(name)
        if not found:
            raise self.wrong(name, "must be a text that is not blank")
        return found

    def optional(self, name: str) -> str:
        """Return a field that may be missing or blank, then as an empty text."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, str):
            raise self.wrong(name, "must be one text, in quotation marks")
        return (value or "").strip()

    def texts(self, name: str) -> list[str]:
        """Return a field that is one text or a list of them, blank ones left out."""
        value = self.values.get(name)
        listed = [value] if isinstance(value, str) else value or []
        if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
            raise self.wrong(name, "must be a text or a list of texts")
        return [item.strip() for item in listed if item.strip()]

    def answer(self, name: str) -> str:
        """Return the first text of a field that lists right answers, each perhaps with its other spellings."""
        value = self.values.get(name)
        while isinstance(value, list):
            value = value[0] if value else None
        if value is not None and not isinstance(value, str):
            raise self.wrong(name, "must be a text or lists of texts")
        return (value or "").strip()

    def part(self, name: str) -> Record:
        """Return a field that is an object; a missing one is empty."""
        value = self.values.get(name) or {}
        if not isinstance(value, dict):
            raise self.wrong(name, "must be a JSON object")
        return Record(self.where, value, f"{self.inside}{name}.")

    def parts(self, name: str) -> list[Record]:
        """Return a field that is a list of objects, or one object."""
        value = self.values.get(name) or []
        listed = [value] if isinstance(value, dict) else value
        if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
            raise self.wrong(name, "must be a list of JSON objects")
        return [Record(self.where, item, f"{self.inside}{name}.") for item in listed]

    def wrong(self, name: str, what: str) -> BadRecords:
        """Return the error of a field that cannot be used."""
        return BadRecords(f"{self.where}: {self.inside + name!r} {what}")
