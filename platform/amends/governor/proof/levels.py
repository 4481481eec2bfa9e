"""Draw how far each attack got with forgotten people, against how far it gets with people whom the model never saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from amends.governor.proof.comparisons import Comparison, is_number
from amends.governor.proof.drawing import SHADES, WIDTH, frame
from amends.governor.proof.plots import number, words

ROW, TOP, BOTTOM = 34, 34, 26
LEFT, RIGHT = 200, 560  # the track, in SVG units
LANE = 6  # distance of a marker from the middle of its row


def levels_svg(comparisons: Sequence[Comparison]) -> str:
    """Return one drawing with a row for each comparison of which both sides were read; empty where none was."""
    shown = [found for found in comparisons if _has(found.forgotten) and _has(found.control)]
    if not shown:
        return ""
    least, most = _span(shown)
    bottom = TOP + ROW * len(shown)
    rows = [_row(TOP + ROW * place, found, least, most) for place, found in enumerate(shown)]
    ticks = [(least, ""), ((least + most) / 2, " i"), (most, " e")]
    axis = [f'<text class="s{end}" x="{_place(tick, least, most):.1f}" y="{bottom + 16}">{number(tick)}</text>'
            for tick, end in ticks]  # fmt: skip
    return frame(
        "levels",
        "How far each attack gets: forgotten people against people whom the model never saw",
        f"{len(shown)} rows. In each the shaded band is the interval of people never seen, with their mean as a line; "
        "a hollow mark is the forgotten people before, a filled one after. The table has the figures.",
        bottom + BOTTOM,
        (_legend(), *rows, *axis),
    )


def _has(told: Mapping[str, Any] | None) -> bool:
    return told is not None and is_number(told["value"])


def _span(shown: Sequence[Comparison]) -> tuple[float, float]:
    """Return 0 to 1 where everything lies there, else from the least to the most."""
    sides = [told for found in shown for told in (found.forgotten, found.control, found.before) if told]
    ends = [told[end] for told in sides for end in ("value", "low", "high") if is_number(told[end])]
    return min(0.0, *ends), max(1.0, *ends)


def _place(value: float, least: float, most: float) -> float:
    return LEFT + (RIGHT - LEFT) * (value - least) / (most - least)


def _row(top: float, found: Comparison, least: float, most: float) -> str:
    middle = top + ROW / 2
    forgotten, control = found.forgotten or {}, found.control or {}
    means = f"{number(forgotten['value'])} against {number(control['value'])}"
    mean = _place(control["value"], least, most)
    parts = [
        f'<text x="0" y="{middle + 5:g}">{escape(words(found.title))}</text>',
        f'<path class="t" d="M{LEFT} {middle:g}H{RIGHT}"/>',
        _reference(control, top, least, most),
        f'<path class="z" d="M{mean:.1f} {top + 5:g}v{ROW - 10}"/>',
    ]
    if found.before is not None and _has(found.before):
        parts.append(_side("b", found.before, middle - LANE, least, most))
    parts.append(_side("a", forgotten, middle + LANE, least, most))
    return "".join((*parts, f'<text x="{RIGHT + 14}" y="{middle + 5:g}">{means}</text>'))


def _reference(control: Mapping[str, Any], top: float, least: float, most: float) -> str:
    if not is_number(control["low"]) or not is_number(control["high"]):
        return ""
    start, end = _place(control["low"], least, most), _place(control["high"], least, most)
    return (
        f'<rect class="reference" fill="{SHADES["reference"]}" x="{start:.1f}" y="{top + 5:g}" '
        f'width="{max(1.0, end - start):.1f}" height="{ROW - 10}"/>'
    )


def _side(kind: str, told: Mapping[str, Any], height: float, least: float, most: float) -> str:
    line = ""
    if is_number(told["low"]) and is_number(told["high"]):
        start, end = _place(told["low"], least, most), _place(told["high"], least, most)
        line = f'<path class="{kind}" d="M{start:.1f} {height:g}H{end:.1f}"/>'
    return f'{line}<circle class="{kind}" cx="{_place(told["value"], least, most):.1f}" cy="{height:g}" r="4.5"/>'


def _legend() -> str:
    return (
        f'<circle class="b" cx="6" cy="12" r="4.5"/><text class="s" x="16" y="16">forgotten, before</text>'
        f'<circle class="a" cx="126" cy="12" r="4.5"/><text class="s" x="136" y="16">forgotten, after</text>'
        f'<rect fill="{SHADES["reference"]}" x="234" y="5" width="20" height="14"/>'
        f'<path class="z" d="M244 5v14"/><text class="s" x="260" y="16">never seen: mean and 95 % interval</text>'
        f'<text class="s e" x="{WIDTH}" y="16">after, against never seen</text>'
    )
