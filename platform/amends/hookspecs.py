"""The hooks of Amends. All of them gather; no plugin's order ever decides an outcome."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

from amends.operation.declaration import Operation, Probe
from amends.operation.seams import Attachment, Store, Workspace
from amends.records import AuditEntry, Change

if TYPE_CHECKING:
    import click

GROUP = "amends"
hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@hookspec
def amends_operations() -> Iterable[Operation]:
    """Offer named changes to a model.

    Returns:
        Operations declared with `@amends.operation`. A name may be offered once.
    """
    return ()


@hookspec
def amends_probes() -> Iterable[Probe]:
    """Offer named measurements of a model.

    Returns:
        Probes declared with `@amends.probe`. A name may be offered once.
    """
    return ()


@hookspec
def amends_stores(workspace: Workspace) -> Iterable[Store]:
    """Offer the places where a plugin keeps a data subject's data.

    Args:
        workspace: Where this installation of Amends keeps its files.

    Returns:
        Stores that can locate, erase and verify, each given a `Disclosure`; every call is idempotent.
    """
    return ()


@hookspec
def amends_attachments() -> Iterable[Attachment]:
    """Offer run-time parts of a version that are not weights.

    Returns:
        Attachments by kind. A kind may be offered once; its order among others is written in the version.
    """
    return ()


@hookspec
def amends_review(change: Change) -> Iterable[str]:
    """Object to a promotion; an empty answer consents.

    Args:
        change: The candidate version, its parent, and what the probes read on both.

    Returns:
        One sentence for each objection. They all go into the ledger, and any one
        of them keeps the candidate from its alias.
    """
    return ()


@hookspec
def amends_recorded(entry: AuditEntry) -> None:
    """Be told after the ledger wrote an entry: at least once, with the entry's id.

    Args:
        entry: The entry as it stands in the chain. A failure here undoes nothing.
    """


@hookspec
def amends_commands(cli: click.Group) -> None:
    """Add commands to the command line.

    Args:
        cli: The root group, or the group a plugin finds in it by name.
    """
