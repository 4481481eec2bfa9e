"""Render a passport as one page, in the style of the other pages: no script, nothing fetched, everything escaped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amends.governor.proof.page import template
from amends.governor.proof.pedigree import pedigree_svg
from amends.governor.proof.plots import readings_svg
from amends.records import Reading

Told = Mapping[str, Any]


def render_passport(passport: Told) -> str:
    """Return the page of a passport."""
    from markupsafe import Markup

    read = passport["readings"]
    rows = [{"before": _of(read["before"], reading["name"]), "after": reading} for reading in read["after"]]
    chart = readings_svg(_readings(read["before"]), _readings(read["after"])) if _readings(read["after"]) else ""
    regimes = list(dict.fromkeys(row["regime"] for row in passport["questions"]))
    return template("passport.html.j2").render(
        **passport,
        rows=rows,
        chart=Markup(chart) if chart else None,
        pedigree=Markup(pedigree_svg(passport["history"], "this version")),
        regimes={regime: [row for row in passport["questions"] if row["regime"] == regime] for regime in regimes},
    )


def _of(readings: list[dict[str, Any]], name: str) -> dict[str, Any] | None:
    return next((reading for reading in readings if reading["name"] == name), None)


def _readings(readings: list[dict[str, Any]]) -> list[Reading]:
    """Return what can be drawn: readings that are finite numbers."""
    return [Reading(**reading) for reading in readings if reading["value"] is not None]
