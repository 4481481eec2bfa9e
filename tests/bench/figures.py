"""The figures of a benchmark, how they are judged, and the table that shows them.

The interval of a mean over data subjects resamples them (95 %); that of repeats is the smallest and the largest.
Where a reading has a baseline, its target bounds the ratio of the two, else the value.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

DIGITS = 6


@dataclass(frozen=True)
class Reading:
    """One figure, as it stands in the file."""

    name: str
    value: float
    unit: str
    n: int
    low: float | None = None
    high: float | None = None
    baseline: float | None = None
    ratio: float | None = None
    target: float | None = None
    met: bool | None = None


def read(
    name: str,
    value: float,
    unit: str,
    n: int = 1,
    interval: tuple[float, float] | None = None,
    *,
    baseline: float | None = None,
    at_most: float | None = None,
    at_least: float | None = None,
) -> Reading:
    """Return a reading, judged where it has a target.

    Args:
        name: What was measured.
        value: The estimate.
        unit: Of the value and of the baseline.
        n: How many subjects or repeats are behind it.
        interval: Of the value.
        baseline: What it is compared with.
        at_most: A target from above.
        at_least: A target from below.
    """
    ratio = value / baseline if baseline else None
    target = at_least if at_most is None else at_most
    judged = value if ratio is None else ratio
    met = None if target is None else (judged >= target if at_most is None else judged <= target)
    low, high = (None, None) if interval is None else interval
    numbers = [None if number is None else round(number, DIGITS) for number in (low, high, baseline, ratio, target)]
    return Reading(name, round(value, DIGITS), unit, n, *numbers, met)


def titled(name: str, unit: str) -> str:
    """Return the name of a figure that is given on the cores (`CPU-s`) and on the clock (`s`)."""
    return name if unit == "CPU-s" else f"{name}, on the clock"


def median(values: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """Return the median of repeats, with the smallest and the largest of them."""
    return statistics.median(values), (min(values), max(values))


def mean(values: Sequence[float]) -> tuple[float, tuple[float, float] | None]:
    """Return the mean over data subjects, one value each, with its 95 % interval."""
    from amends.operation.statistics import bootstrap_by_person

    return statistics.fmean(values), bootstrap_by_person(values, range(len(values)))


def show(title: str, readings: Sequence[Reading], caption: str) -> None:
    """Draw the table."""
    from rich.console import Console
    from rich.table import Table

    table = Table("what", "value", "unit", "n", "interval", "baseline", "ratio", "target", "met")
    table.title, table.caption = f"bench-{title}", caption
    for r in readings:
        interval = "" if r.low is None or r.high is None else f"{r.low:.4g} to {r.high:.4g}"
        met = {True: "yes", False: "NO", None: ""}[r.met]
        cells = [f"{x:.4g}" if x is not None else "" for x in (r.value, r.baseline, r.ratio, r.target)]
        table.add_row(r.name, cells[0], r.unit, str(r.n), interval, *cells[1:], met)
    console = Console()
    Console(width=max(console.width, 150)).print(table)
