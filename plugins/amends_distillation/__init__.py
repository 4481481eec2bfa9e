"""Carry what one model knows into another: distillation, parametric transfer and weight projection."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from amends import Operation, Probe, hookimpl

if TYPE_CHECKING:
    import click


@hookimpl
def amends_operations() -> Iterable[Operation]:
    """Offer the operations that teach a student from a teacher."""
    from . import distilling, transferring

    return [*distilling.operations(), *transferring.operations()]


@hookimpl
def amends_probes() -> Iterable[Probe]:
    """Offer the measurements of a student beside its teacher."""
    from . import probing, transferring

    return [*probing.probes(), *transferring.probes()]


@hookimpl
def amends_commands(cli: click.Group) -> None:
    """Add `amends distill` and `amends transfer`."""
    from .commands import add_distill
    from .transfer.commands import add_transfer

    add_distill(cli)
    add_transfer(cli)
