"""When a request has to be answered: the day of receipt is not counted, the last day runs to its end, locally."""

from __future__ import annotations

import calendar
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from amends.errors import BadInput, Denied
from amends.policy.regimes import Regime, find_regime, holidays_of, load_regimes, read_zone

__all__ = ["Deadline", "Extension", "Regime", "deadline", "extend", "find_regime", "load_regimes", "read_deadline"]


@dataclass(frozen=True)
class Extension:
    """Why more time was taken, and when the data subject was told."""

    reason: str = field(repr=False)
    notice_sent_at: datetime


@dataclass(frozen=True)
class Deadline:
    """The last day for an answer, and everything it was computed from.

    Args:
        regime: The rule.
        jurisdiction: Whose holidays and whose midnight count.
        timezone: Its IANA name.
        calendar: The calendar of public holidays with its version, or why none was used.
        received_at: When the request came, UTC.
        due_on: The last day, local.
        due_at: Its last second, UTC.
        extension: The one extension, or None.
    """

    regime: Regime
    jurisdiction: str
    timezone: str
    calendar: str
    received_at: datetime
    due_on: date
    due_at: datetime
    extension: Extension | None = None

    @property
    def rule(self) -> str:
        """The rule and its version, for a record."""
        return f"{self.regime.name} {self.regime.version} ({self.regime.law})"

    def days_left(self, now: datetime) -> int:
        """Return how many local days are left; 0 on the last one, negative after it."""
        return (self.due_on - _aware(now, "now").astimezone(read_zone(self.timezone)).date()).days

    def is_overdue(self, now: datetime) -> bool:
        """Whether the last second has passed."""
        return _aware(now, "now") > self.due_at

    def as_json(self) -> dict[str, Any]:
        """Return the deadline as JSON; `read_deadline` gives an equal one back."""
        times = {name: getattr(self, name).isoformat() for name in ("received_at", "due_on", "due_at")}
        extension = (
            None
            if self.extension is None
            else {"reason": self.extension.reason, "notice_sent_at": self.extension.notice_sent_at.isoformat()}
        )
        plain = {name: getattr(self, name) for name in ("jurisdiction", "timezone", "calendar")}
        return {"regime": self.regime.as_json(), **plain, **times, "extension": extension}


def deadline(regime: Regime, received_at: datetime, jurisdiction: str | None = None) -> Deadline:
    """Return when a request must be answered.

    Args:
        regime: From `find_regime`.
        received_at: When the request came, with its time zone.
        jurisdiction: A country code such as `DE`, or `DE-BY` where a part's holidays count; the regime's own if None.

    Raises:
        BadInput: The time has no zone, or the jurisdiction is missing or unknown.
    """
    place, zone = regime.place(jurisdiction)
    return _compute(regime, place, zone.key, _aware(received_at, "received_at"), 0)


def extend(first: Deadline, reason: str, notice_sent_at: datetime) -> Deadline:
    """Return the extended deadline, counted from receipt over both periods.

    Raises:
        Denied: It was extended before, the regime knows no extension, no reason is given, or the notice was not
            sent within the first period.
        BadInput: The time of the notice has no zone.
    """
    notice = _aware(notice_sent_at, "notice_sent_at")
    if first.extension is not None:
        raise Denied("this deadline was extended before, and only one extension is allowed; answer the request")
    if first.regime.extension == 0:
        raise Denied(f"{first.regime.name} knows no extension; answer the request")
    if not reason.strip():
        raise Denied("an extension needs a reason that the data subject was told; give it")
    if not first.received_at <= notice <= first.due_at:
        raise Denied(f"the notice must be sent between receipt and {first.due_on}; answer the request instead")
    longer = _compute(first.regime, first.jurisdiction, first.timezone, first.received_at, first.regime.extension)
    return replace(longer, extension=Extension(reason.strip(), notice))


def read_deadline(value: Mapping[str, Any]) -> Deadline:
    """Return the deadline that `as_json` wrote; nothing is computed again.

    Raises:
        BadInput: It is damaged.
    """
    try:
        given = value["extension"]
        return Deadline(
            regime=Regime(**value["regime"]),
            jurisdiction=str(value["jurisdiction"]),
            timezone=str(value["timezone"]),
            calendar=str(value["calendar"]),
            received_at=datetime.fromisoformat(value["received_at"]),
            due_on=date.fromisoformat(value["due_on"]),
            due_at=datetime.fromisoformat(value["due_at"]),
            extension=given and Extension(str(given["reason"]), datetime.fromisoformat(given["notice_sent_at"])),
        )
    except (KeyError, TypeError, ValueError):
        raise BadInput("a recorded deadline is damaged; restore the record from the ledger") from None


def _compute(regime: Regime, place: str, timezone: str, received_at: datetime, further: int) -> Deadline:
    zone = read_zone(timezone)
    received_on = received_at.astimezone(zone).date()
    if regime.months:
        due_on = add_months(received_on, regime.months + further)
    else:
        due_on = received_on + timedelta(days=regime.days + further)
    used = "none: the last day does not move"
    if regime.rolls:
        used, off = holidays_of(place, (due_on.year, due_on.year + 1))
        while due_on.weekday() >= 5 or due_on in off:
            due_on += timedelta(days=1)
    due_at = datetime.combine(due_on, time(23, 59, 59), zone).astimezone(UTC)
    return Deadline(regime, place, timezone, used, received_at, due_on, due_at)


def add_months(day: date, months: int) -> date:
    """Return the same-numbered day some months on, or the last day of that month where it has none."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def _aware(moment: datetime, name: str) -> datetime:
    if moment.tzinfo is None or moment.utcoffset() is None:
        raise BadInput(f"{name} has no time zone; write it with an offset, such as 2026-01-31T12:00:00+00:00")
    return moment.astimezone(UTC)
