"""Who may act here: add and remove people, each with an entry in the audit log."""

from __future__ import annotations

from typing import Any

from amends.errors import Denied
from amends.governor.workspace import Workspace
from amends.ledger import people
from amends.ledger.actions import Action
from amends.ledger.people import Person


def add_person(workspace: Workspace, name: str, role: str) -> tuple[Person, str]:
    """Add a person; returns them with their token, which is shown once and never again.

    Raises:
        BadInput: The role is unknown, or somebody has this name.
        Denied: Who acts is no admin.
    """
    actor = workspace.require_role("admin")
    with workspace.database.transaction() as connection:
        token = people.add(connection, name, role)
        person = people.authenticate(connection, token)
        body = {"person": person.id, "role": str(person.role)}
        workspace.record(connection, f"person:{person.id}:added", Action.PERSON_ADDED, body, actor.id)
    return person, token


def remove_person(workspace: Workspace, name: str) -> Person:
    """Refuse a person's token from now on; what they did stays in the log.

    Raises:
        BadInput: There is no such person.
        Denied: Who acts is no admin, or would leave the workspace without one.
    """
    actor = workspace.require_role("admin")
    with workspace.database.transaction() as connection:
        found = people.get(connection, name)
        admins = [person.id for person in people.everyone(connection) if person.role == "admin"]
        if admins == [found.id]:
            raise Denied(f"{found.name} is the only admin; add another one before you remove them")
        removed = people.remove(connection, found.id)
        body = {"person": removed.id, "role": str(removed.role)}
        workspace.record(connection, f"person:{removed.id}:removed", Action.PERSON_REMOVED, body, actor.id)
    return removed


def everyone(workspace: Workspace, removed: bool = False) -> list[dict[str, Any]]:
    """Return the people who are here, with `removed` also those who were."""
    with workspace.database.read() as connection:
        return [dict(vars(person)) for person in people.everyone(connection, removed=removed)]
