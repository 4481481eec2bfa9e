"""One row for each method of unlearning: what it forgot and kept, what attacks bring back, what it took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from figures import Reading

APART = "{method}: {what}, less the gold model's"
AFTER = "{method} after {what}: probability, less the gold model's"
COLUMNS = {
    "forgotten probability": APART.replace("{what}", "forgotten probability"),
    "strength": APART.replace("{what}", "forgotten strength"),
    "AUC": APART.replace("{what}", "membership AUC"),
    "kept strength, of gold": "{method}: kept strength, of the gold model's",
    "after 4 bits": AFTER.replace("{what}", "4 bits"),
    "after relearning": AFTER.replace("{what}", "5 steps on 4 records"),
    "CPU-s for 40 records": "{method}: training for 40 records",
}
CHOSEN = "the ladder chooses {method}, on rung"


def rows_of(methods: Sequence[str], readings: Sequence[Reading]) -> list[list[str]]:
    """Return the cells of each method that something was read of; what was not measured stays empty."""
    found = {reading.name: reading for reading in readings}
    rows = []
    for method in methods:
        cells = [_cell(found, title.format(method=method)) for title in COLUMNS.values()]
        if any(cells):
            rows.append([method, *cells, "yes" if CHOSEN.format(method=method) in found else ""])
    return rows


def _cell(found: Mapping[str, Reading], name: str) -> str:
    reading = found.get(name)
    if reading is None:
        return ""
    if reading.low is None or reading.high is None:
        return f"{reading.value if reading.ratio is None else reading.ratio:.3g}"
    return f"{reading.value:.3f} ({reading.low:.3f} to {reading.high:.3f})"


def show_methods(methods: Sequence[str], readings: Sequence[Reading]) -> None:
    """Draw the table, where there is a row."""
    from rich.console import Console
    from rich.table import Table

    rows = rows_of(methods, readings)
    if not rows:
        return
    table = Table("method", *COLUMNS, "chosen by the ladder", title="less the gold model, with intervals of 90 %")
    for row in rows:
        table.add_row(*row)
    console = Console()
    Console(width=max(console.width, 200)).print(table)
