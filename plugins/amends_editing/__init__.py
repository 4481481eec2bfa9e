"""Change what a model knows: insert, modify or erase a fact, and measure what became of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from amends import Attachment, Operation, Probe, hookimpl

if TYPE_CHECKING:
    import click


@hookimpl
def amends_operations() -> Iterable[Operation]:
    """Offer the methods that write into the weights, and those that stand beside them."""
    from . import beside, within

    return (*within.operations(), *beside.operations())


@hookimpl
def amends_attachments() -> Iterable[Attachment]:
    """Offer what the edits beside the weights leave in a version."""
    from . import beside

    return beside.attachments()


@hookimpl
def amends_probes() -> Iterable[Probe]:
    """Offer the measurements of edits."""
    from . import probing

    return probing.probes()


@hookimpl
def amends_commands(cli: click.Group) -> None:
    """Add `amends edit`."""
    from .commands import add_edit

    add_edit(cli)
