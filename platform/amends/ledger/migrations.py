"""Bring a database to the schema of this release, in numbered steps.

A new database is created whole; an older one takes the steps it lacks. Version 1 is the
first release. To change a table: change `tables.py`, append a function here, and the test
that compares both ways holds them together.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, inspect, select, update

from amends.errors import BadInput
from amends.ledger import triggers
from amends.ledger.tables import metadata, schema_version


def cases_have_parents(connection: Connection) -> None:
    """Let a case name the one that opened it (schema 2)."""
    connection.exec_driver_sql("ALTER TABLE cases ADD COLUMN parent VARCHAR(80) REFERENCES cases (id)")
    connection.exec_driver_sql("CREATE INDEX cases_by_parent ON cases (parent)")
    triggers.replace(connection, "cases_keep_their_rules")


STEPS: tuple[Callable[[Connection], None], ...] = (cases_have_parents,)
HEAD = 1 + len(STEPS)


def version_of(connection: Connection) -> int:
    """Return the schema's version, 0 for an empty database."""
    if not inspect(connection).has_table(schema_version.name):
        return 0
    found: int = connection.execute(select(schema_version.c.version)).scalar_one()
    return found


def migrate(connection: Connection) -> None:
    """Create or upgrade every table, in the caller's writing transaction.

    Raises:
        BadInput: The database was written by a newer release.
    """
    found = version_of(connection)
    check(found)
    if found == 0:
        metadata.create_all(connection)
        triggers.install(connection)
        connection.execute(schema_version.insert().values(version=HEAD))
        return
    for step in STEPS[found - 1 :]:
        step(connection)
    connection.execute(update(schema_version).values(version=HEAD))


def check(found: int) -> None:
    """Refuse a schema of a later release.

    Raises:
        BadInput: The database was written by a newer release.
    """
    if found > HEAD:
        raise BadInput(f"the database has schema {found}, this release knows {HEAD}; upgrade Amends")
