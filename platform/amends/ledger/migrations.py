"""Bring a database to the schema of this release, in numbered steps.

A new database is created whole; an older one takes the steps it lacks. Version 1 is the
first release. To change a table: change `tables/`, append a function here, and the test
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


def versions_may_be_quarantined(connection: Connection) -> None:
    """Let a version be set aside (schema 3); some databases of schema 2 were made after that was possible."""
    rule = "status IN ('active', 'quarantined', 'sealed', 'purged')"
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(
            "ALTER TABLE versions DROP CONSTRAINT IF EXISTS known_version_status,"
            f" ADD CONSTRAINT known_version_status CHECK ({rule})"
        )
        return
    former = "status IN ('active', 'sealed', 'purged')"
    _rebuild(connection, "versions", lambda made: made.replace(former, rule))


def _rebuild(connection: Connection, table: str, change: Callable[[str], str]) -> None:
    """Make a table of SQLite anew from its own changed text, with its rows and its indexes; it alters no rule in place.

    For a table that no other refers to and that has no triggers, which would go with the old one.
    """
    parts = f"SELECT sql FROM sqlite_master WHERE tbl_name = '{table}' AND sql IS NOT NULL ORDER BY type = 'table' DESC"
    made, *indexes = connection.exec_driver_sql(parts).scalars().all()
    _, opened, columns = made.partition("(")
    connection.exec_driver_sql(f"CREATE TABLE {table}_anew {opened}{change(columns)}")
    connection.exec_driver_sql(f"INSERT INTO {table}_anew SELECT * FROM {table}")
    connection.exec_driver_sql(f"DROP TABLE {table}")
    connection.exec_driver_sql(f"ALTER TABLE {table}_anew RENAME TO {table}")
    for index in indexes:
        connection.exec_driver_sql(index)


STEPS: tuple[Callable[[Connection], None], ...] = (cases_have_parents, versions_may_be_quarantined)
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
