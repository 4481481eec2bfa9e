"""Ground a model in documents: at its input, inside it and at its output, with erasure that reaches the index."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from amends import Attachment, Operation, Probe, Store, Workspace, hookimpl

if TYPE_CHECKING:
    import click


@hookimpl
def amends_operations() -> Iterable[Operation]:
    """Offer the ways of grounding a version in documents."""
    from . import beside

    return beside.operations()


@hookimpl
def amends_attachments() -> Iterable[Attachment]:
    """Offer what they leave in a version."""
    from . import kinds

    return kinds.attachments()


@hookimpl
def amends_probes() -> Iterable[Probe]:
    """Offer the measurements of retrieval and grounding."""
    from . import measures

    return measures.probes()


@hookimpl
def amends_stores(workspace: Workspace) -> Iterable[Store]:
    """Offer the live indexes of a workspace as a place where people's data lies."""
    from .store import Indexes

    return [Indexes(workspace)]


@hookimpl
def amends_commands(cli: click.Group) -> None:
    """Add `amends rag`."""
    from .grounding import add_all

    add_all(cli)
