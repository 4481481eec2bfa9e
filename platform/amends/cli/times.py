"""Times given on the command line."""

from __future__ import annotations

from datetime import UTC, datetime

from amends.errors import BadInput


def read_time(text: str, option: str) -> datetime:
    """Return a time with its zone; nothing means now.

    Raises:
        BadInput: It is no ISO time, or has no zone.
    """
    if not text:
        return datetime.now(UTC)
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(f"{option} is no time; write it such as 2026-01-31T09:00:00+01:00") from None
    if given.tzinfo is None:
        raise BadInput(f"{option} needs a time zone; write it such as 2026-01-31T09:00:00+01:00")
    return given
