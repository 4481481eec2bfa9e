"""`amends detox`: make a model less toxic, and keep the scorers that say so."""

from __future__ import annotations

import click

from amends.cli.verbs import group

detox = group("detox", "Make a model less toxic, under a budget for everything else.")


def add_detox(cli: click.Group) -> None:
    """Add `detox` to the root."""
    cli.add_command(detox)
