"""Render a certificate's statement as one page that a person can read, print and keep."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amends.governor.proof.comparisons import ATTACK, comparisons_of, is_comparison
from amends.governor.proof.drilling import drill_of, is_drill
from amends.governor.proof.forest import forest_svg
from amends.governor.proof.levels import levels_svg
from amends.governor.proof.pedigree import pedigree_svg
from amends.governor.proof.plainly import plain_verdict
from amends.governor.proof.plots import Threshold, number, readings_svg, title, words
from amends.records import Reading

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATES = Path(__file__).parent / "templates"
_UNITS = ("bytes", "kB", "MB", "GB", "TB")
_CLAIMS = {
    "found": "still there",
    "absent": "not there",
    "searched, no control": "nothing found",
    "cannot see into": "cannot be searched",
    "opaque: encrypted": "encrypted",
}


def render_page(statement: Mapping[str, Any]) -> str:
    """Return the statement as self-contained HTML: no script, nothing fetched, everything escaped.

    A statement whose predicate has a `standing` is rendered as a report of a case that nothing was attested for.
    """
    predicate = {"standing": None, "family": None, "retired": [], **statement["predicate"]}
    completed = predicate["case"]["completed_at"]
    is_late = bool(completed) and _utc(completed) > _utc(predicate["case"]["due_at"])
    return template("certificate.html.j2").render(
        **predicate,
        is_late=is_late,
        plain=plain_verdict(predicate, is_late),
        rows=_rows(predicate),
        claims=_CLAIMS,
        drill=drill_of(predicate["readings"]),
        **_drawings(predicate),
    )


def template(name: str) -> Template:
    """Return a template whose pages are self-contained: everything escaped, and a name that is missing is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

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
    return environment.get_template(name)


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


def _drawings(predicate: Mapping[str, Any]) -> dict[str, Any]:
    """Return the drawings of a page, None where there is nothing to draw, and what they are drawn from."""
    from markupsafe import Markup

    read = predicate["readings"]
    limits = [Threshold(**threshold) for threshold in read["thresholds"]]
    found = comparisons_of(read["after"], read["before"])
    told = {
        "chart": readings_svg(_read(read["before"]), _read(_alone(read["after"])), limits) if read["after"] else "",
        "forest": forest_svg(found, limits) if found else "",
        "levels": levels_svg(found),
        "pedigree": pedigree_svg(predicate["history"]) if predicate["history"] is not None else "",
    }
    drawn = {name: Markup(svg) if svg else None for name, svg in told.items()}
    return {**drawn, "comparisons": found}


def _alone(readings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what is no attack's and no drill's, and compares no people: those have places of their own."""
    return [one for one in readings if not (ATTACK in one["name"] or is_drill(one["name"]) or is_comparison(one))]


def _read(readings: list[dict[str, Any]]) -> list[Reading]:
    return [Reading(**{**reading, "value": _or_nan(reading["value"])}) for reading in readings]


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _rows(predicate: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Pair each reading of the candidate with its parent's."""
    before = {reading["name"]: reading for reading in predicate["readings"]["before"]}
    after = _alone(predicate["readings"]["after"])
    return [{"before": before.get(reading["name"]), "after": reading} for reading in after]
