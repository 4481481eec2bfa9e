"""`amends people`: who may do what."""

from __future__ import annotations

import click

from amends.cli.output import Screen
from amends.cli.tables import Table
from amends.cli.verbs import group

ROLES = ("requester", "operator", "ml-engineer", "safety-engineer", "dpo", "auditor", "admin")

people = group("people", "Who may do what. Only an admin adds and removes people.")


@people.verb("add", example="amends people add Dora --role dpo")
@click.argument("name")
@click.option("--role", required=True, metavar="ROLE", help=f"One of {', '.join(ROLES)}.")
def add(screen: Screen, name: str, role: str) -> None:
    """Add a person and show their token, this once."""
    from amends.governor.staffing import add_person

    with screen.workspace() as workspace:
        person, token = add_person(workspace, name, role)
    screen.show(
        {"id": person.id, "name": person.name, "role": person.role, "token": token},
        f"{person.name} is {person.role}. Give them this token; it is not shown again:",
        f"export AMENDS_TOKEN={token}",
    )


@people.verb("list", example="amends people list")
@click.option("--removed", is_flag=True, help="Also those who were removed.")
def list_people(screen: Screen, removed: bool) -> None:
    """List the people who are here."""
    from amends.governor.staffing import everyone

    with screen.workspace() as workspace:
        found = everyone(workspace, removed)
    rows = [
        (p["name"], p["role"], p["id"], f"{p['added_at']:%Y-%m-%d}", "removed" if p["removed_at"] else "")
        for p in found
    ]
    screen.show(found, Table(("name", "role", "id", "since", "state"), rows))


@people.verb("remove", example="amends people remove Dora")
@click.argument("name")
def remove(screen: Screen, name: str) -> None:
    """Refuse a person's token from now on; what they did stays in the log."""
    from amends.governor.staffing import remove_person

    with screen.workspace() as workspace:
        person = remove_person(workspace, name)
    screen.show({"id": person.id, "name": person.name, "role": person.role}, f"{person.name} can no longer act here.")
