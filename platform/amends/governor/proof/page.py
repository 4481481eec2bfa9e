"""Render a certificate's statement as one page that a person can read, print and keep."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from amends.governor.proof.drilling import drill_of, is_drill
from amends.governor.proof.plots import Threshold, number, readings_svg, title, words
from amends.records import Reading

TEMPLATES = Path(__file__).parent / "templates"
_ATTACK = ".attack-"
_UNITS = ("bytes", "kB", "MB", "GB", "TB")
_CLAIMS = {
    "found": "still there",
    "absent": "not there",
    "searched, no control": "nothing found",
    "cannot see into": "cannot be searched",
    "opaque: encrypted": "encrypted",
}


def render_page(statement: Mapping[str, Any]) -> str:
    """Return the statement as self-contained HTML: no script, nothing fetched, everything escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        {"moment": moment, "day": day, "size": size, "number": number, "words": words, "title": title, "count": count}
        | {"percent": percent}
    )
    predicate = statement["predicate"]
    chart = Markup(_chart(predicate["readings"])) if predicate["readings"]["after"] else None
    page = environment.get_template("certificate.html.j2")
    is_late = _utc(predicate["case"]["completed_at"]) > _utc(predicate["case"]["due_at"])
    return page.render(
        **predicate, is_late=is_late, chart=chart, rows=_rows(predicate), attacks=_attacks(predicate), claims=_CLAIMS,
        drill=drill_of(predicate["readings"]),
    )  # fmt: skip


def moment(iso: str) -> str:
    """Write a time for people, in UTC."""
    when = _utc(iso)
    return f"{when.day} {when:%B %Y, %H:%M} UTC"


def day(iso: str) -> str:
    """Write a date for people."""
    when = _utc(iso)
    return f"{when.day} {when:%B %Y}"


def size(count_of_bytes: float) -> str:
    """Write a number of bytes for people."""
    step = 0
    while count_of_bytes >= 1000 and step < len(_UNITS) - 1:
        count_of_bytes, step = count_of_bytes / 1000, step + 1
    return f"{count_of_bytes:.3g} {_UNITS[step]}"


def count(value: int, noun: str) -> str:
    """Write a number of things for people."""
    return f"{value:,} {noun}{'' if value == 1 else 's'}".replace(",", "\u202f")


def percent(share: float) -> str:
    """Write a share for people."""
    return f"{100 * share:.0f} %"


def _utc(iso: str) -> datetime:
    return datetime.fromisoformat(iso).astimezone(UTC)


def _chart(readings: Mapping[str, Any]) -> str:
    lines = [Threshold(**threshold) for threshold in readings["thresholds"]]
    return readings_svg(_read(_plain(readings["before"])), _read(_plain(readings["after"])), lines)


def _plain(readings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what is no attack's and no drill's; those have a table of their own."""
    return [reading for reading in readings if _ATTACK not in reading["name"] and not is_drill(reading["name"])]


def _read(readings: list[dict[str, Any]]) -> list[Reading]:
    return [Reading(**{**reading, "value": _or_nan(reading["value"])}) for reading in readings]


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _rows(predicate: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Pair each reading of the candidate with its parent's."""
    before = {reading["name"]: reading for reading in predicate["readings"]["before"]}
    after = _plain(predicate["readings"]["after"])
    return [{"before": before.get(reading["name"]), "after": reading} for reading in after]


def _attacks(predicate: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return for each attack how far it got with forgotten and with never-seen people, and the difference.

    An attack is a probe called `attack-NAME` that reads `forgotten`, `control` and `difference`, each with one ending
    where it is tried in several strengths, such as `_4bit`.
    """
    found = {reading["name"]: reading for reading in predicate["readings"]["after"] if _ATTACK in reading["name"]}
    before = {reading["name"]: reading for reading in predicate["readings"]["before"]}
    rows = []
    for name, reading in found.items():
        probe, _, statistic = name.rpartition("/")
        if not statistic.startswith("difference"):
            continue
        ending = statistic.removeprefix("difference")
        beside = {who: found.get(f"{probe}/{who}{ending}") for who in ("forgotten", "control")}
        knew = before.get(f"{probe}/forgotten{ending}")
        title = f"{probe.partition(_ATTACK)[2]} {ending.strip('_')}".strip()
        rows.append({"name": title, "difference": reading, "before": knew, **beside})
    return rows
