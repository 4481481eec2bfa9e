"""Draw readings before and after as SVG: intervals, and where the policy draws its line."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from amends.governor.proof.drawing import SHADES, WIDTH, frame
from amends.records import Reading, RuleAnswer

ROW, TOP, BOTTOM = 58, 34, 6
LEFT, RIGHT = 254, 634  # the track, in SVG units
LANE = 8  # distance of a marker from the middle of its row
_NUMBER = r"(-?\d+(?:\.\d+)?)"
_RULE = re.compile(
    rf'^\s*readings\["([^"]+)"\]\.\w+ (<=|<|>=|>) (?:{_NUMBER} \* before\["([^"]+)"\]\.value|{_NUMBER})\s*$'
)


@dataclass(frozen=True)
class Threshold:
    """A policy's line for one reading: `comparison` must hold between the reading and `value`."""

    reading: str
    comparison: str
    value: float
    severity: str = "deny"


def thresholds_of(answers: Iterable[RuleAnswer], before: Iterable[Reading]) -> tuple[Threshold, ...]:
    """Read the lines that can be drawn out of the rules that were asked: a number, or a share of the parent's."""
    parents = {reading.name: reading.value for reading in before}
    found = []
    for answer in answers:
        for clause in () if answer.reason.startswith("not asked") else _clauses(answer.expression):
            match = _RULE.match(clause)
            if match is None:
                continue
            name, comparison, share, parent, number = match.groups()
            value = float(number) if share is None else float(share) * parents.get(parent, math.nan)
            if math.isfinite(value):
                found.append(Threshold(name, comparison, value, answer.severity))
    return tuple(found)


def _clauses(expression: str) -> list[str]:
    """Return what must hold together; an expression with a choice in it is one clause."""
    return [expression] if "||" in expression or "?" in expression else expression.split("&&")


def readings_svg(before: Sequence[Reading], after: Sequence[Reading], thresholds: Sequence[Threshold] = ()) -> str:
    """Return one drawing with a row for each reading of the candidate.

    Args:
        before: What the probes read on the parent.
        after: What they read on the candidate; their order is the order of the rows.
        thresholds: The policy's lines.
    """
    parents = {reading.name: reading for reading in before}
    shown = [reading for reading in after if math.isfinite(reading.value)]
    height = TOP + ROW * len(shown) + BOTTOM
    rows = [
        _row(TOP + ROW * number, parents.get(reading.name), reading, thresholds) for number, reading in enumerate(shown)
    ]
    told = (
        f"{len(shown)} readings, each before and after, with its interval and the limits of the policy. "
        "The table has the figures."
    )
    return frame("readings", "Readings before and after", told, height, (_legend(), *rows))


def _legend() -> str:
    return (
        f'<circle class="b" cx="{LEFT + 6}" cy="12" r="4.5"/><text class="s" x="{LEFT + 16}" y="16">before</text>'
        f'<circle class="a" cx="{LEFT + 76}" cy="12" r="4.5"/><text class="s" x="{LEFT + 86}" y="16">after</text>'
        f'<path class="a" d="M{LEFT + 130} 12h22"/><text class="s" x="{LEFT + 158}" y="16">95 % interval</text>'
        f'<rect fill="{SHADES["deny"]}" x="{LEFT + 246}" y="5" width="14" height="14"/>'
        f'<text class="s" x="{LEFT + 265}" y="16">refused</text>'
        f'<rect fill="{SHADES["warn"]}" x="{LEFT + 318}" y="5" width="14" height="14"/>'
        f'<text class="s" x="{LEFT + 337}" y="16">alarm</text>'
    )


def _row(top: float, before: Reading | None, after: Reading, thresholds: Sequence[Threshold]) -> str:
    own = [threshold for threshold in thresholds if threshold.reading == after.name]
    pair = [reading for reading in (before, after) if reading is not None and math.isfinite(reading.value)]
    scale = _Scale.over(pair, own)
    middle = top + ROW / 2
    parts = [
        f'<text x="0" y="{middle - 3:g}">{escape(title(after.name))}</text>',
        f'<text class="s" x="0" y="{middle + 13:g}">{escape(after.name.rpartition("/")[0])}</text>',
        *(
            _limit(threshold, scale, top)
            for threshold in sorted(own, key=lambda threshold: threshold.severity != "warn")
        ),
        f'<path class="t" d="M{LEFT} {middle:g}H{RIGHT}"/>',
        f'<text class="s" x="{LEFT}" y="{top + ROW - 3:g}">{_end(scale.low)}</text>',
        f'<text class="s e" x="{RIGHT}" y="{top + ROW - 3:g}">{_end(scale.high)}</text>',
    ]
    if len(pair) == 2:
        ends = [scale.place(reading.value) for reading in pair]
        parts.append(f'<path class="c" d="M{ends[0]:.1f} {middle - LANE:g}L{ends[1]:.1f} {middle + LANE:g}"/>')
        parts.append(_marker("b", pair[0], scale, middle - LANE))
    parts.append(_marker("a", after, scale, middle + LANE))
    parts.append(f'<text class="e" x="{WIDTH}" y="{middle + 5:g}">{_from_to(pair)}</text>')
    return "".join(parts)


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float

    @classmethod
    def over(cls, readings: Sequence[Reading], thresholds: Sequence[Threshold]) -> _Scale:
        """Span a row: 0 to 1 where everything lies there, else round numbers around everything."""
        ends = [end for reading in readings for end in (reading.value, reading.low, reading.high) if end is not None]
        values = [value for value in (*ends, *(threshold.value for threshold in thresholds)) if math.isfinite(value)]
        low, high = min(values), max(values)
        if low >= 0 and high <= 1:
            return cls(0, 1)
        step = 10 ** math.floor(math.log10(max(high - low, abs(high) / 10, 1e-9)))
        return cls(min(0.0, math.floor(low / step) * step), (math.floor(high / step) + 1) * step)

    def place(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return LEFT + (RIGHT - LEFT) * min(1.0, max(0.0, share))


def _limit(threshold: Threshold, scale: _Scale, top: float) -> str:
    """Shade what the policy refuses, with its border."""
    border = scale.place(threshold.value)
    start, end = (border, RIGHT) if threshold.comparison.startswith("<") else (LEFT, border)
    kind = "l" if threshold.severity == "deny" else "w"
    return (
        f'<rect fill="{SHADES.get(threshold.severity, SHADES["warn"])}" x="{start:.1f}" y="{top + 10:g}" '
        f'width="{max(0.0, end - start):.1f}" height="{ROW - 24}"/>'
        f'<path class="{kind}" d="M{border:.1f} {top + 8:g}v{ROW - 20}"/>'
    )


def _marker(kind: str, reading: Reading, scale: _Scale, height: float) -> str:
    interval = ""
    if reading.low is not None and reading.high is not None and math.isfinite(reading.low + reading.high):
        interval = (
            f'<path class="{kind}" d="M{scale.place(reading.low):.1f} {height:g}H{scale.place(reading.high):.1f}"/>'
        )
    return f'{interval}<circle class="{kind}" cx="{scale.place(reading.value):.1f}" cy="{height:g}" r="5"/>'


def _from_to(pair: Sequence[Reading]) -> str:
    return " → ".join(number(reading.value) for reading in pair)


def number(value: float | None) -> str:
    """Write a reading for people: three significant digits, a real minus sign."""
    if value is None or not math.isfinite(value):
        return "none"
    rounded = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3f}" if abs(value) < 1 else f"{value:#.3g}"
    return rounded.replace("-", "−").replace(",", "\u202f")


def title(name: str) -> str:
    """Write a reading's name for people: what its probe is about, then the statistic."""
    probe, _, statistic = name.rpartition("/")
    about = probe.rpartition(".")[2]
    return words(f"{about}: {statistic}" if about and about != statistic else statistic)


def words(text: str) -> str:
    """Write an identifier for people: spaces for dashes, initialisms in capitals, the first letter too."""
    text = text.replace("_", " ").replace("-", " ").strip()
    for short in ("auc", "ks"):
        text = re.sub(rf"\b{short}\b", short.upper(), text)
    return text[:1].upper() + text[1:]


def _end(value: float) -> str:
    return f"{value:g}".replace("-", "−")
