"""`amends distill`: teach a student from a teacher, as a case."""

from __future__ import annotations

import click


def add_distill(cli: click.Group) -> None:
    """Add `distill` to the root."""
