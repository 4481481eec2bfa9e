"""Change what a model knows: insert, modify or erase a fact, and measure what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amends import hookimpl

if TYPE_CHECKING:
    import click


@hookimpl
def amends_commands(cli: click.Group) -> None:
    """Add `amends edit`."""
    from .commands import add_edit

    add_edit(cli)
