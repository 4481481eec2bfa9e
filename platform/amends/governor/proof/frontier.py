"""Draw what candidates cost against what they bring, as SVG: every one a point, what the policy refuses shaded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from amends.governor.proof.drawing import SHADES, WIDTH, frame
from amends.governor.proof.plots import Threshold, number, title
from amends.policy import ReadingReference
from amends.records import Reading

LEFT, RIGHT, TOP, BOTTOM = 70, 730, 40, 380  # the plot's sides, in SVG units
HEIGHT = 440
MARGIN = 0.08  # of the span, beside the outermost points


@dataclass(frozen=True)
class Point:
    """A candidate: what it costs, what it brings, and whether it stays within the budget.

    Args:
        label: The operation.
        across: The reading it is set against, or None where it was not read.
        up: The reading that is to be least, or None.
        is_within: Whether every rule of the budget holds.
    """

    label: str
    across: Reading | None
    up: Reading | None
    is_within: bool


def frontier_svg(
    points: Sequence[Point], against: ReadingReference, least: ReadingReference, lines: Iterable[Threshold]
) -> str:
    """Return the drawing; the first point is the parent, and what was not read is left out and counted.

    Args:
        points: The parent, then every candidate.
        against: What goes across.
        least: What goes up.
        lines: The budget's lines; those of the reading that goes across are drawn.
    """
    shown = [point for point in points if _place(point) is not None]
    limits = [line for line in lines if line.reading == against.name]
    places = [place for point in points if (place := _place(point)) is not None]
    across = _span([*(x for x, _ in places), *(line.value for line in limits)])
    up = _span([0.0, *(y for _, y in places), *(point.up.high or 0.0 for point in shown if point.up)])
    parts = [*(_limit(line, across) for line in limits), *_axes(against, least, across, up)]
    parts += [
        _mark(point, across.at(x, LEFT, RIGHT), up, "b" if order == 0 else "a" if point.is_within else "n")
        for order, (point, (x, _)) in enumerate(zip(shown, places, strict=True))
    ]
    told = (
        f"{len(shown)} points, of them {sum(point.is_within for point in shown)} within the budget and "
        f"{len(points) - len(shown)} more not read. Lower and nearer to the parent is better."
    )
    return frame("frontier", f"{title(least.name)} against {title(against.name)}", told, HEIGHT, parts)


@dataclass(frozen=True)
class _Span:
    low: float
    high: float

    def at(self, value: float, start: float, end: float) -> float:
        return start + (end - start) * (value - self.low) / (self.high - self.low)


def _span(values: Sequence[float]) -> _Span:
    low, high = min(values, default=0.0), max(values, default=1.0)
    beside = MARGIN * (high - low) or 1.0
    return _Span(low if low == 0 else low - beside, high + beside)


def _place(point: Point) -> tuple[float, float] | None:
    """Return where a point goes, or None where one of its readings is missing or no number."""
    if point.across is None or point.up is None or not math.isfinite(point.across.value + point.up.value):
        return None
    return point.across.value, point.up.value


def _limit(line: Threshold, across: _Span) -> str:
    x = across.at(line.value, LEFT, RIGHT)
    start, end = (x, RIGHT) if line.comparison.startswith("<") else (LEFT, x)
    return (
        f'<rect fill="{SHADES["deny"]}" x="{start:.1f}" y="{TOP}" width="{max(0.0, end - start):.1f}" '
        f'height="{BOTTOM - TOP}"/><path class="l" d="M{x:.1f} {TOP}V{BOTTOM}"/>'
        f'<text class="s i" x="{x:.1f}" y="{TOP - 8}">budget {number(line.value)}</text>'
    )


def _axes(against: ReadingReference, least: ReadingReference, across: _Span, up: _Span) -> Iterable[str]:
    yield f'<path class="z" d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}"/>'
    yield f'<text class="s" x="{LEFT}" y="{BOTTOM + 18}">{number(across.low)}</text>'
    yield f'<text class="s e" x="{RIGHT}" y="{BOTTOM + 18}">{number(across.high)}</text>'
    yield f'<text class="i" x="{(LEFT + RIGHT) / 2:g}" y="{BOTTOM + 36}">{escape(against.name)}</text>'
    yield f'<text class="s e" x="{LEFT - 6}" y="{BOTTOM:g}">{number(up.low)}</text>'
    yield f'<text class="s e" x="{LEFT - 6}" y="{TOP + 8}">{number(up.high)}</text>'
    yield f'<text x="{LEFT}" y="16">{escape(least.name)}, with its interval</text>'
    yield f'<text class="s e" x="{WIDTH - 4}" y="16">filled: within the budget</text>'


def _mark(point: Point, x: float, up: _Span, kind: str) -> str:
    assert point.up is not None  # else it has no place
    y = up.at(point.up.value, BOTTOM, TOP)
    ends = [up.at(end, BOTTOM, TOP) for end in (point.up.low, point.up.high) if end is not None and math.isfinite(end)]
    whisker = f'<path class="{kind}" d="M{x:.1f} {ends[0]:.1f}V{ends[1]:.1f}"/>' if len(ends) == 2 else ""
    label = f'<text class="s" x="{x + 8:.1f}" y="{y - 6:.1f}">{escape(point.label.rpartition(".")[2])}</text>'
    told = f"<title>{escape(point.label)}: {number(point.up.value)}</title>"
    return f'<g>{told}{whisker}<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="5"/>{label}</g>'
