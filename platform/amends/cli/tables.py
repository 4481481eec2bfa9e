"""Tables for people: drawn by rich on a terminal, aligned by spaces elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import click


class Marked(NamedTuple):
    """A cell that stands out on a terminal: its text and a colour's name."""

    text: str
    colour: str


def coloured(text: str, colours: Mapping[str, str]) -> str | Marked:
    """Return a cell that stands out where its text has a colour."""
    return Marked(text, colours[text]) if text in colours else text


Cell = str | int | float | None | Marked


@dataclass(frozen=True)
class Table:
    """Columns and rows, with a sentence for when there are none."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    empty: str = "none"

    def show(self) -> None:
        """Write the table to standard output."""
        if not self.rows:
            click.echo(self.empty)
        elif sys.stdout.isatty():
            self._draw()
        else:
            self._align()

    def _draw(self) -> None:
        from rich.box import SIMPLE
        from rich.console import Console
        from rich.table import Table as Drawn
        from rich.text import Text

        drawn = Drawn(*self.columns, box=SIMPLE, pad_edge=False)
        for row in self.rows:
            styles = (cell.colour if isinstance(cell, Marked) else "" for cell in row)
            drawn.add_row(*(Text(text_of(cell), style) for cell, style in zip(row, styles, strict=True)))
        Console().print(drawn)

    def _align(self) -> None:
        lines = [list(self.columns), *([text_of(cell) for cell in row] for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            click.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def text_of(cell: Cell) -> str:
    """Return a cell as text; nothing is a dash."""
    if isinstance(cell, Marked):
        return cell.text
    if cell is None or cell == "":
        return "-"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)
