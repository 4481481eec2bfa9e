"""Make a model less toxic without making it worse: scorers, operations, and the measurements that judge both."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from amends import Change, Operation, Probe, hookimpl

if TYPE_CHECKING:
    import click


@hookimpl
def amends_operations() -> Iterable[Operation]:
    """Offer the changes that make a model less toxic."""
    from . import changing

    return changing.operations()


@hookimpl
def amends_probes() -> Iterable[Probe]:
    """Offer the measurements of toxicity, bias, refusals and diversity."""
    from . import probing

    return probing.probes()


@hookimpl
def amends_review(change: Change) -> Iterable[str]:
    """Object where what was read before and after a change is by different scorers, versions or protocols."""
    from . import comparing

    return list(comparing.objections(change))


@hookimpl
def amends_commands(cli: click.Group) -> None:
    """Add `amends detox`."""
    from .commands import add_detox

    add_detox(cli)
