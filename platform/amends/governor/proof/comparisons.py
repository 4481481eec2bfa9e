"""The readings that compare forgotten people with people whom the model never saw, whoever's probe gave them.

A comparison is a reading whose detail has a `margin`, the difference either way that counts as none, and a `verdict`.
How it was tested may stand beside them: `rungs`, `alpha`, `level`, and `least_margin`, the smallest that its people
could have passed. Its value is a difference, so that 0 is no difference. Where a probe reads `difference` (with an
ending where it tried several strengths, such as `_4bit`), `forgotten` and `control` of that ending are its two sides.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeGuard

ATTACK = ".attack-"
_SIDE = "difference"
_BOUND = re.compile(r'readings\["([^"]+)"\]\.(?:low|high)\b')
Told = Mapping[str, Any]


@dataclass(frozen=True)
class Comparison:
    """A difference with its interval, how it was judged, and the two sides of it where they were read.

    Args:
        name: The reading's.
        value: The difference; None where it could not be read.
        low: Lower end of its interval, or None.
        high: Upper end.
        n: People on the smaller side.
        margin: What counts as no difference; None where the reading does not say.
        power: Chance that it passes where nothing differs.
        detail: What the reading says besides.
        forgotten: The forgotten people's reading, or None.
        control: The never-seen people's.
        before: The forgotten people's on the version before.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    margin: float | None
    power: float | None
    detail: Told = field(default_factory=dict)
    forgotten: Told | None = None
    control: Told | None = None
    before: Told | None = None

    @property
    def is_attack(self) -> bool:
        """Whether somebody tried to get at the data."""
        return ATTACK in self.name

    @property
    def title(self) -> str:
        """What is compared: an attack with its strength, or what else was measured."""
        probe, _, statistic = self.name.rpartition("/")
        if not self.is_attack:
            return statistic
        ending = statistic.removeprefix(_SIDE) if statistic.startswith(_SIDE) else statistic
        return f"{probe.partition(ATTACK)[2]} {ending.strip('_')}".strip()

    @property
    def place(self) -> str:
        """Where its interval lies: `within` the margin, `beyond` it, or `unknown` where too few could tell."""
        if self.low is None or self.high is None or self.margin is None:
            return "unknown"
        is_within = -self.margin <= self.low and self.high <= self.margin
        told = {"equivalent": "within" if is_within else "unknown", "not equivalent": "beyond"}
        return told.get(str(self.detail.get("verdict")), "unknown")


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a JSON value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def comparisons_of(after: Iterable[Told], before: Iterable[Told] = ()) -> list[Comparison]:
    """Return the comparisons among the readings of a candidate, those that are no attack first.

    An attack's `difference` is one also where it says no margin: it is listed, and drawn without a band.
    """
    read, earlier = {told["name"]: told for told in after}, {told["name"]: told for told in before}
    found = [_comparison(told, read, earlier) for told in read.values() if is_comparison(told)]
    return sorted(found, key=lambda comparison: comparison.is_attack)


def is_comparison(told: Told) -> bool:
    """Whether a reading is a difference between forgotten and never-seen people."""
    statistic = told["name"].rpartition("/")[2]
    detail = told.get("detail", {})
    is_judged = is_number(detail.get("margin")) and "verdict" in detail
    return is_judged or (ATTACK in told["name"] and statistic.startswith(_SIDE))


def decided_by_rules(comparisons: Sequence[Comparison], answers: Iterable[Told]) -> list[Comparison]:
    """Return those whose interval a denying rule reads that was asked: all of these have to pass."""
    asked = [a["expression"] for a in answers if a["severity"] == "deny" and not a["reason"].startswith("not asked")]
    named = {name for expression in asked for name in _BOUND.findall(expression)}
    return [comparison for comparison in comparisons if comparison.name in named]


def _comparison(told: Told, read: Mapping[str, Told], earlier: Mapping[str, Told]) -> Comparison:
    probe, _, statistic = told["name"].rpartition("/")
    detail = told.get("detail", {})
    margin = detail.get("margin")
    found = Comparison(
        **{name: told[name] for name in ("name", "value", "low", "high", "n", "power")},
        margin=float(margin) if is_number(margin) else None,
        detail=detail,
    )
    if not statistic.startswith(_SIDE):
        return found
    ending = statistic.removeprefix(_SIDE)
    forgotten, control = f"{probe}/forgotten{ending}", f"{probe}/control{ending}"
    return replace(found, forgotten=read.get(forgotten), control=read.get(control), before=earlier.get(forgotten))
