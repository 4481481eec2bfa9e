"""`amends models recipients|confirm`: who was handed a version, and who has replaced or deleted it since."""

from __future__ import annotations

import click

from amends.cli.output import Screen
from amends.cli.tables import Marked, Table
from amends.cli.verbs import verb


@verb("recipients", example="amends models recipients")
@click.option("--model", default="", metavar="NAME", help="Only those who were handed a version of this model.")
def recipients(screen: Screen, model: str) -> None:
    """List what left the workspace: which version, when, and whether somebody confirmed that it is gone there.

    Where it went is kept as a keyed hash, of which this shows the beginning.
    """
    from amends.governor.models.exporting import recipients_of

    with screen.workspace() as workspace:
        found = recipients_of(workspace, model)
    rows = [
        (one["id"], one["version"], Marked(one["status"], "yellow") if one["is_open"] else one["status"], one["what"],
         one["where"][:12], f"{one['at']:%Y-%m-%d}", one["confirmed_at"] and f"{one['confirmed_at']:%Y-%m-%d}")
        for one in found
    ]  # fmt: skip
    columns = ("recipient", "version", "status here", "what", "where", "handed out", "confirmed")
    screen.show(found, Table(columns, rows, "nothing was handed out"))


@verb("confirm", example="amends models confirm 1")
@click.argument("recipient", type=click.IntRange(1))
def confirm(screen: Screen, recipient: int) -> None:
    """Record that a recipient said they replaced or deleted what they were handed; later certificates say when."""
    from amends.governor.models.exporting import confirm_replaced

    with screen.workspace() as workspace:
        found = confirm_replaced(workspace, recipient)
    screen.show(found, f"recipient {recipient} of {found['version']} confirmed that it is gone there")


COMMANDS = (recipients, confirm)
