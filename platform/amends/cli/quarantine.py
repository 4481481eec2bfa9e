"""`amends models quarantine` and `amends models release`: set a version aside, and let it go again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from amends.cli.output import Screen
from amends.cli.verbs import verb

if TYPE_CHECKING:
    from amends.ledger.lineage import Version

_reason = click.option("--reason", required=True, help="Why; it is kept in the audit log, so name nobody in it.")


@verb("quarantine", example='amends models quarantine assistant@2 --reason "it answers with a secret"')
@click.argument("reference", metavar="MODEL@VERSION")
@_reason
def quarantine(screen: Screen, reference: str, reason: str) -> None:
    """Set a version aside at once: it is not promoted, changed, exported or bundled, and is asked only on purpose."""
    from amends.governor.models import quarantine

    with screen.workspace() as workspace:
        version = quarantine.quarantine(workspace, reference, reason)
    screen.show(_standing(version), f"{version.name} is quarantined; somebody else may release it")


@verb("release", example='amends models release assistant@2 --reason "it was another model"')
@click.argument("reference", metavar="MODEL@VERSION")
@_reason
def release(screen: Screen, reference: str, reason: str) -> None:
    """Let a quarantined version go, once its bytes are read back as they were signed; not by who quarantined it."""
    from amends.governor.models import quarantine

    with screen.workspace() as workspace:
        version = quarantine.release(workspace, reference, reason)
    screen.show(_standing(version), f"{version.name} is active again")


def _standing(version: Version) -> dict[str, object]:
    return {"model": version.model, "version": version.number, "digest": version.digest, "status": version.status}
