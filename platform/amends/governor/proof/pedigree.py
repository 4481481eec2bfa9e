"""Draw where two versions come from: their base, the steps they share, and the steps that only one of them has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from amends.governor.proof.drawing import WIDTH, frame

GAP, HEIGHT, HEAD = 60, 46, 22  # between two columns, of a box, and above the first; in SVG units
BOX = (WIDTH - GAP) // 2
STRIDE = HEIGHT + 18
SHORT = 12  # digits of a digest
LETTERS = 54  # of a line within a box
MOST = 12  # steps of a column; those in the middle of a longer one are counted
Told = Mapping[str, Any]


def pedigree_svg(history: Told, alone: str = "in service") -> str:
    """Return the picture of a statement's `history`; steps that both versions share stand once, above.

    Args:
        history: The base, and the two versions with their steps; `after` is None where there is one version.
        alone: What that one version is called.
    """
    before, after = history["before"], history["after"]
    shared = _shared(before["steps"], [] if after is None else after["steps"])
    trunk = [_start(history["base"]), *_steps(before["steps"][:shared])]
    columns = [_column(before, shared, alone if after is None else "before")]
    if after is not None:
        columns.append(_column(after, shared, "after"))
    if after is not None and len(columns[0]) == 1:  # the version after goes on where the one before stands
        trunk, columns = [*trunk, *columns[0]], [columns[1]]
    parts = [*_drawn(trunk, 0, 0, has_root=False)]
    for number, column in enumerate(columns):
        parts += _drawn(column, number, len(trunk), has_root=True)
    rows = len(trunk) + max(map(len, columns))
    told = f"{_read_out(history['base'], before)}{'' if after is None else ' ' + _read_out(history['base'], after)}"
    return frame("lineage", "Where the model comes from", told, HEAD + rows * STRIDE, parts)


def _shared(first: Sequence[Told], second: Sequence[Told]) -> int:
    """Return how many steps two versions have in common, from the start."""
    for place, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return place
    return min(len(first), len(second))


def _start(base: Told | None) -> tuple[str, str, str]:
    if base is None:
        return ("k", "an unknown beginning", "no version without steps is on record")
    return ("k", f"base: {base['name']}@{base['version']}", base["digest"][:SHORT])


def _steps(steps: Sequence[Told]) -> list[tuple[str, str, str]]:
    boxes = [("f", step["operation"], _data(step["data"])) for step in steps]
    if len(boxes) <= MOST:
        return boxes
    left_out = len(boxes) - MOST + 1
    return [*boxes[:3], ("f", "…", f"{left_out} further steps"), *boxes[-(MOST - 4) :]]


def _data(data: Mapping[str, str]) -> str:
    return " · ".join(f"{name} {digest[:SHORT]}" for name, digest in sorted(data.items())) or "no data"


def _column(version: Told, shared: int, when: str) -> list[tuple[str, str, str]]:
    promise = version["guarantee"] or "no erasure made it"
    name = f"{when}: {version['name']}@{version['version']}"
    return [*_steps(version["steps"][shared:]), ("g", name, f"{version['digest'][:SHORT]} · {promise}")]


def _drawn(boxes: Sequence[tuple[str, str, str]], column: int, row: int, *, has_root: bool) -> list[str]:
    x = column * (BOX + GAP)
    parts = []
    for place, (kind, title, small) in enumerate(boxes):
        y = HEAD / 2 + (row + place) * STRIDE
        if place or has_root:
            parts.append(_line(x, y, from_trunk=not place and column > 0))
        parts.append(
            f'<rect class="{kind}" x="{x + 2}" y="{y:g}" width="{BOX - 4}" height="{HEIGHT}" rx="4"/>'
            f'<text x="{x + 12}" y="{y + 19:g}">{escape(_cut(title))}</text>'
            f'<text class="s" x="{x + 12}" y="{y + 36:g}">{escape(_cut(small))}</text>'
        )
    return parts


def _line(x: float, y: float, *, from_trunk: bool) -> str:
    top, middle = y - (STRIDE - HEIGHT), x + BOX / 2
    if not from_trunk:
        return f'<path class="f" d="M{middle:g} {top:g}V{y:g}"/>'
    return f'<path class="f" d="M{BOX / 2:g} {top:g}v9H{middle:g}V{y:g}"/>'


def _cut(text: str) -> str:
    return text if len(text) <= LETTERS else f"{text[: LETTERS - 1]}…"


def _read_out(base: Told | None, version: Told) -> str:
    start = "an unknown beginning" if base is None else f"{base['name']}@{base['version']}"
    steps = ", then ".join(step["operation"] for step in version["steps"]) or "no step"
    return f"{version['name']}@{version['version']} comes from {start} by {steps}."
