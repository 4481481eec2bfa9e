"""Draw comparisons as a forest plot: each difference with its interval, and the band that counts as none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from amends.governor.proof.comparisons import Comparison, is_number
from amends.governor.proof.drawing import SHADES, frame
from amends.governor.proof.plots import Threshold, number, words

ROW, TOP, BOTTOM = 34, 58, 30
LEFT, RIGHT = 200, 560  # the track, in SVG units
PLACES = {"within": "within", "beyond": "reaches beyond", "unknown": "cannot tell"}


def forest_svg(comparisons: Sequence[Comparison], limits: Sequence[Threshold] = ()) -> str:
    """Return one drawing with a row for each comparison, all on one scale around 0.

    Args:
        comparisons: Those without a finite value have a row that says so.
        limits: The policy's lines.
    """
    reach = _reach(comparisons, limits)
    bottom = TOP + ROW * len(comparisons)
    rows = [_row(TOP + ROW * place, found, limits, reach) for place, found in enumerate(comparisons)]
    zero = f'<path class="z" d="M{_place(0, reach):.1f} {TOP - 4}V{bottom + 4}"/>'
    counted = {told: sum(found.place == place for found in comparisons) for place, told in PLACES.items()}
    told = "; ".join(f"{count} {told}" for told, count in counted.items() if count)
    return frame(
        "forest",
        "Differences between forgotten people and people whom the model never saw",
        f"One row for each comparison, with its interval; 0 is no difference, the shaded band is the margin. Of "
        f"{len(comparisons)}: {told}. The table has the figures.",
        bottom + BOTTOM,
        (_legend(), *_ends(reach), *rows, zero, *_axis(reach, bottom)),
    )


def _reach(comparisons: Sequence[Comparison], limits: Sequence[Threshold]) -> float:
    """Return how far the scale goes either way."""
    ends = [end for found in comparisons for end in (found.value, found.low, found.high, found.margin)]
    names = {found.name for found in comparisons}
    ends += [limit.value for limit in limits if limit.reading in names]
    far = max((abs(end) for end in ends if end is not None and math.isfinite(end)), default=0.0) or 1.0
    step = 10.0 ** math.floor(math.log10(far)) / 2
    return float(math.ceil(far / step - 1e-9) * step)


def _place(value: float, reach: float) -> float:
    share = (value + reach) / (2 * reach)
    return LEFT + (RIGHT - LEFT) * min(1.0, max(0.0, share))


def _row(top: float, found: Comparison, limits: Sequence[Threshold], reach: float) -> str:
    middle = top + ROW / 2
    kind = "attack" if found.is_attack else found.name.rpartition("/")[0].rpartition(".")[2]
    parts = [
        f'<text x="0" y="{middle:g}">{escape(words(found.title))}</text>',
        f'<text class="s" x="0" y="{middle + 13:g}">{escape(kind)}, n {found.n}</text>',
        _band(found, top, reach),
        f'<path class="t" d="M{LEFT} {middle:g}H{RIGHT}"/>',
        *(_limit(limit, top, reach) for limit in limits if limit.reading == found.name),
        _interval(found, middle, reach),
        f'<text x="{RIGHT + 14}" y="{middle:g}">{escape(_figures(found))}</text>',
        f'<text class="s" x="{RIGHT + 14}" y="{middle + 13:g}">{PLACES[found.place]}</text>',
    ]
    return "".join(parts)


def _band(found: Comparison, top: float, reach: float) -> str:
    if found.margin is None:
        return ""
    start, end = _place(-found.margin, reach), _place(found.margin, reach)
    return (
        f'<rect class="band" fill="{SHADES["margin"]}" x="{start:.1f}" y="{top:g}" width="{end - start:.1f}" '
        f'height="{ROW}"/>'
    )


def _limit(limit: Threshold, top: float, reach: float) -> str:
    kind = "l" if limit.severity == "deny" else "w"
    return f'<path class="{kind}" d="M{_place(limit.value, reach):.1f} {top + 5:g}v{ROW - 10}"/>'


def _interval(found: Comparison, height: float, reach: float) -> str:
    """Return the interval and a mark whose form, not only its colour, says where the interval lies."""
    if found.value is None or not is_number(found.value):
        return ""
    kind = {"within": "a", "beyond": "n", "unknown": "o"}[found.place]
    line = ""
    if found.low is not None and found.high is not None:
        line = f'<path class="{kind}" d="M{_place(found.low, reach):.1f} {height:g}H{_place(found.high, reach):.1f}"/>'
    return line + mark(found.place, kind, _place(found.value, reach), height)


def mark(place: str, kind: str, x: float, y: float) -> str:
    """Return a filled circle for what is within, a hollow lozenge beyond, a hollow square where nobody can tell."""
    if place == "within":
        return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:g}" r="5"/>'
    if place == "beyond":
        return f'<path class="{kind}" d="M{x:.1f} {y - 6:g}l6 6l-6 6l-6 -6z"/>'
    return f'<rect class="{kind}" x="{x - 4.5:.1f}" y="{y - 4.5:g}" width="9" height="9"/>'


def _figures(found: Comparison) -> str:
    if found.value is None or not is_number(found.value):
        return "could not be read"
    if found.low is None or found.high is None:
        return number(found.value)
    return f"{number(found.value)} ({number(found.low)} to {number(found.high)})"


def _legend() -> str:
    x = 0
    parts = []
    for place, kind, told in (("within", "a", PLACES["within"]), ("beyond", "n", PLACES["beyond"]),
                              ("unknown", "o", "cannot tell: too few people, or unread")):  # fmt: skip
        parts += [mark(place, kind, x + 6, 12), f'<text class="s" x="{x + 17}" y="16">{told}</text>']
        x += 40 + 6 * len(told)
    parts += [
        f'<rect fill="{SHADES["margin"]}" x="{x}" y="5" width="14" height="14"/>',
        f'<text class="s" x="{x + 20}" y="16">counts as none</text>',
        f'<path class="l" d="M{x + 120} 5v14"/><text class="s" x="{x + 128}" y="16">limit of the policy</text>',
    ]
    return "".join(parts)


def _ends(reach: float) -> tuple[str, ...]:
    return (
        f'<text class="s" x="{LEFT}" y="{TOP - 14}">← less</text>',
        f'<text class="s i" x="{_place(0, reach):.1f}" y="{TOP - 14}">0: as people never seen</text>',
        f'<text class="s e" x="{RIGHT}" y="{TOP - 14}">more →</text>',
    )


def _axis(reach: float, bottom: float) -> list[str]:
    ticks = (-reach, -reach / 2, 0.0, reach / 2, reach)
    written = [(_place(tick, reach), f"{tick:g}".replace("-", "−")) for tick in ticks]
    return [f'<text class="s i" x="{x:.1f}" y="{bottom + 18}">{text}</text>' for x, text in written]
