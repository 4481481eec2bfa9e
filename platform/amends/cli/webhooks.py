"""`amends webhooks`: tell other systems of what happens."""

from __future__ import annotations

import os
from typing import Any

import click

from amends.cli.output import Screen
from amends.cli.tables import Table
from amends.cli.verbs import group
from amends.errors import BadInput

webhooks = group("webhooks", "Tell other systems of what happens.")


@webhooks.verb("list", example="amends webhooks list")
def list_receivers(screen: Screen) -> None:
    """List who is told of what, and how many events wait for them; an address is shown by its host alone."""
    from amends.governor.webhooks.delivering import waiting

    with screen.workspace() as workspace:
        found: list[dict[str, Any]] = [
            {
                "name": receiver.name,
                "place": receiver.place,
                "events": list(receiver.events),
                "secret_env": receiver.secret_env,
                "has_secret": bool(os.environ.get(receiver.secret_env)),
                "waiting": waiting(workspace.database, receiver),
            }
            for receiver in workspace.settings.webhooks
        ]
    rows = [
        (r["name"], r["place"], ", ".join(r["events"]), r["secret_env"], "set" if r["has_secret"] else "not set",
         r["waiting"])
        for r in found
    ]  # fmt: skip
    screen.show(found, Table(("name", "where", "events", "secret in", "which is", "waiting"), rows))


@webhooks.verb("test", example="amends webhooks test chat")
@click.argument("name", required=False)
def test(screen: Screen, name: str | None) -> int:
    """Send a signed message about nothing to one receiver, or to all; leaves with 1 if one did not take it."""
    from amends.governor.webhooks.delivering import try_out

    with screen.workspace() as workspace:
        workspace.require_role("operator", "admin")
        known = {receiver.name: receiver for receiver in workspace.settings.webhooks}
        if name is not None and name not in known:
            raise BadInput(f"there is no webhook {name!r}; there are {', '.join(known) or 'none in amends.toml'}")
        found = [{"name": n, "trouble": try_out(known[n])} for n in ([name] if name is not None else known)]
    rows = [(one["name"], one["trouble"] or "taken") for one in found]
    screen.show(found, Table(("name", "message"), rows))
    return 1 if any(one["trouble"] for one in found) else 0


@webhooks.verb("deliver", example="amends webhooks deliver")
def deliver(screen: Screen) -> int:
    """Deliver what waits, which `amends work` does too; leaves with 1 if a receiver did not take it."""
    from amends.governor.webhooks import delivering

    with screen.workspace() as workspace:
        workspace.require_unattended_or("operator", "admin")
        found = delivering.deliver(workspace.database, workspace.settings.webhooks)
    rows = [(one.name, one.delivered, one.waiting, one.trouble) for one in found]
    screen.show(found, Table(("name", "delivered", "waiting", "why"), rows))
    return 1 if any(one.trouble for one in found) else 0
