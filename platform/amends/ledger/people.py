"""The people who act: names, roles and tokens, of which only a hash is kept."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from sqlalchemy import Connection, Row, insert, select, update

from amends.errors import BadInput, Denied
from amends.ledger.columns import now
from amends.ledger.tables import people

# A token carries 256 random bits, so the hash only has to be one-way: the cheapest setting that OWASP lists.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


class Role(StrEnum):
    """What a person may do; policies name these."""

    REQUESTER = "requester"
    OPERATOR = "operator"
    ML_ENGINEER = "ml-engineer"
    SAFETY_ENGINEER = "safety-engineer"
    DPO = "dpo"
    AUDITOR = "auditor"
    ADMIN = "admin"


@dataclass(frozen=True)
class Person:
    """Someone who acts here; entries of the log name the id."""

    id: str
    name: str
    role: Role
    added_at: datetime
    removed_at: datetime | None = None


def add(connection: Connection, name: str, role: str) -> str:
    """Add a person and return their token, which is shown once and never again.

    Raises:
        BadInput: The role is unknown, or somebody has this name.
    """
    checked = _role(role)
    if not name.strip():
        raise BadInput("a person needs a name; write amends people add NAME --role ROLE")
    if connection.execute(select(people.c.id).where(people.c.name == name, people.c.removed_at.is_(None))).first():
        raise BadInput(f"{name!r} is here already; remove them first or choose another name")
    person, secret = f"p-{secrets.token_hex(6)}", secrets.token_urlsafe(32)
    connection.execute(
        insert(people).values(id=person, name=name, role=checked, token_hash=_HASHER.hash(secret), added_at=now())
    )
    return f"{person}.{secret}"


def authenticate(connection: Connection, token: str) -> Person:
    """Return the person whom a token names.

    Raises:
        Denied: The token is wrong, or its person was removed.
    """
    person, _, secret = token.strip().partition(".")
    row = connection.execute(select(people).where(people.c.id == person)).first()
    try:
        if row is None or not _HASHER.verify(row.token_hash, secret):
            raise Denied("this token is not known here; ask an admin for a new one")
    except VerificationError:
        raise Denied("this token is not known here; ask an admin for a new one") from None
    if row.removed_at is not None:
        raise Denied("this token belongs to a person who was removed; ask an admin for a new one")
    return _person(row)


def get(connection: Connection, person: str) -> Person:
    """Return a person by id, or by name while they are here.

    Raises:
        BadInput: There is no such person.
    """
    named = (people.c.name == person) & people.c.removed_at.is_(None)
    row = connection.execute(select(people).where((people.c.id == person) | named)).first()
    if row is None:
        raise BadInput(f"there is no person {person!r}; see amends people list")
    return _person(row)


def remove(connection: Connection, person: str) -> Person:
    """Refuse a person's token from now on; what they did stays in the log.

    Raises:
        BadInput: There is no such person.
    """
    found = get(connection, person)
    if found.removed_at is None:
        connection.execute(update(people).where(people.c.id == found.id).values(removed_at=now()))
    return get(connection, found.id)


def everyone(connection: Connection, *, removed: bool = False) -> tuple[Person, ...]:
    """Return the people who are here, by name; with `removed` also those who were."""
    query = select(people).order_by(people.c.name, people.c.added_at)
    rows = connection.execute(query if removed else query.where(people.c.removed_at.is_(None)))
    return tuple(_person(row) for row in rows)


def _role(role: str) -> Role:
    try:
        return Role(role)
    except ValueError:
        raise BadInput(f"there is no role {role!r}; there are {', '.join(Role)}") from None


def _person(row: Row[tuple[object, ...]]) -> Person:
    return Person(row.id, row.name, Role(row.role), row.added_at, row.removed_at)
