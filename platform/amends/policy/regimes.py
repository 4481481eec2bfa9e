"""The regimes a request can run under, read from `policies/regimes.yaml`: periods and calendars are data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from amends.errors import BadInput, BadPolicy
from amends.policy.fields import Fields, find_file, read_text, read_yaml

_JURISDICTION = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,3})?")


@dataclass(frozen=True)
class Regime:
    """How long a controller has; exactly one of months and days is positive.

    Args:
        name: Such as `gdpr`.
        version: Of the file's rules, kept with each deadline.
        law: Where the period is written.
        months: The first period in calendar months, or 0.
        days: The first period in days, or 0.
        extension: Further months, or days, counted from receipt together with the first period.
        rolls: Whether a last day on a Saturday, Sunday or public holiday moves to the next working day.
        jurisdiction: The one taken where none is given; empty where one must be given.
        timezones: IANA names by jurisdiction; the day of receipt, and the end of a day, are local.
    """

    name: str
    version: str
    law: str
    months: int
    days: int
    extension: int
    rolls: bool
    jurisdiction: str = ""
    timezones: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def place(self, jurisdiction: str | None) -> tuple[str, ZoneInfo]:
        """Return the jurisdiction to count in, and its time zone.

        Raises:
            BadInput: None was given where one is needed, or the regime does not know it.
        """
        chosen = jurisdiction or self.jurisdiction
        if not chosen:
            raise BadInput(f"{self.name} counts by public holidays; name a jurisdiction, such as DE, FR or IE")
        zone = self.timezones.get(chosen) or self.timezones.get(chosen.partition("-")[0])
        if not _JURISDICTION.fullmatch(chosen) or zone is None:
            raise BadInput(f"{self.name} does not apply in {chosen!r}; there are {', '.join(self.timezones)}")
        return chosen, read_zone(zone)

    def as_json(self) -> dict[str, Any]:
        """Return the rule without its table of time zones."""
        return {key: value for key, value in asdict(self).items() if key != "timezones"}


def read_zone(name: str) -> ZoneInfo:
    """Return a time zone.

    Raises:
        BadInput: This machine does not know it.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise BadInput(f"this machine knows no time zone {name!r}; install the package tzdata") from None


@lru_cache(maxsize=64)
def holidays_of(jurisdiction: str, years: tuple[int, ...]) -> tuple[str, frozenset[date]]:
    """Return the calendar's name with its version, and the public holidays of some years.

    Raises:
        BadInput: There is no calendar for the jurisdiction or for one of the years.
    """
    import holidays

    country, _, part = jurisdiction.partition("-")
    try:
        days = holidays.country_holidays(country, subdiv=part or None, years=years, expand=False)
    except NotImplementedError:
        raise BadInput(f"there is no calendar of public holidays for {jurisdiction!r}; give its country code") from None
    if missing := sorted(set(years) - {day.year for day in days}):
        raise BadInput(f"the calendar of {jurisdiction} ends before {missing[0]}; check the date of receipt")
    return f"holidays {holidays.__version__}", frozenset(days)


def load_regimes(home: Path | None = None) -> dict[str, Regime]:
    """Load every regime by name, the workspace's `policies/regimes.yaml` first.

    Raises:
        BadPolicy: The file has a mistake.
    """
    file = find_file(home, "regimes.yaml")
    fields = read_yaml(read_text(file), file.name)
    version = fields.text("version")
    regimes = {name: _regime(f"{file.name}, {name}", name, version, value) for name, value in _all(fields)}
    fields.finish()
    return regimes


def find_regime(name: str, home: Path | None = None) -> Regime:
    """Return one regime.

    Raises:
        BadInput: There is none of that name.
    """
    regimes = load_regimes(home)
    if name not in regimes:
        raise BadInput(f"there is no regime {name!r}; there are {', '.join(regimes)}")
    return regimes[name]


def _all(fields: Fields) -> list[tuple[str, Any]]:
    if not (given := fields.mapping("regimes")):
        raise BadPolicy(f"{fields.where} names no regime; add one")
    return list(given.items())


def _regime(where: str, name: str, version: str, value: object) -> Regime:
    fields = Fields(where, value)
    months, days = fields.whole("months", 0), fields.whole("days", 0)
    if (months > 0) == (days > 0):
        raise BadPolicy(f"{where} needs either months or days")
    extension = fields.whole("extension_months" if months else "extension_days", 0)
    law, rolls, jurisdiction = fields.text("law"), fields.truth("rolls"), fields.text("jurisdiction", "")
    timezones = fields.mapping("timezones")
    fields.finish()
    for place, zone in timezones.items():
        if not _JURISDICTION.fullmatch(place) or not isinstance(zone, str):
            raise BadPolicy(f"{where}, timezones: {place!r} must be a country code in quotes, with a time zone")
    if not timezones or (jurisdiction and jurisdiction not in timezones):
        raise BadPolicy(f"{where}: timezones must name every jurisdiction")
    return Regime(name, version, law, months, days, extension, rolls, jurisdiction, timezones)
