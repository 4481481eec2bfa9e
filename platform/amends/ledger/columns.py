"""Column types that read the same on SQLite and PostgreSQL: canonical JSON and UTC times."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Dialect, String, Text
from sqlalchemy.types import TypeDecorator

from amends.errors import BadInput
from amends.records import canonical_json


def now() -> datetime:
    """Return the current time, timezone-aware UTC."""
    return datetime.now(UTC)


def stamp(at: datetime) -> str:
    """Return a time as text of fixed width that sorts as the time does.

    Raises:
        BadInput: The time has no time zone.
    """
    if at.tzinfo is None:
        raise BadInput("a time without a time zone cannot be recorded; give it one, such as UTC")
    return at.astimezone(UTC).isoformat(timespec="microseconds")


class CanonicalJson(TypeDecorator[Any]):
    """A JSON value kept as its canonical text, so that its digest can be taken again."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Write the canonical text."""
        return None if value is None else canonical_json(value).decode()

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Read the value back."""
        return None if value is None else json.loads(value)


class UtcTime(TypeDecorator[datetime]):
    """A timezone-aware time kept as sortable text."""

    impl = String(32)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        """Write the time in UTC."""
        return None if value is None else stamp(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Read the time back, in UTC."""
        return None if value is None else datetime.fromisoformat(value)
