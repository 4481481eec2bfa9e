"""The workspace's database: one writer, consistent readers, SQLite by default and PostgreSQL by URL."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL, ExceptionContext

from amends.errors import AmendsError, BadInput, Broken, Denied, Waiting
from amends.ledger import migrations
from amends.ledger.tables import metadata

PATIENCE_MS = 30_000
"""How long anybody waits for another process to let go of the database."""
_PRAGMAS = ("journal_mode = WAL", "foreign_keys = ON", "secure_delete = ON")
_IN_USE = "the database is in use by another process; let it finish and vacuum again"
_LOCK_NOT_AVAILABLE = "55P03"
_LOCK = "SELECT pg_advisory_xact_lock(hashtext('amends'), hashtext(current_schema()))"


class Database:
    """Opens transactions on the workspace's database.

    Args:
        url: `sqlite:///path/to/ledger.db` or `postgresql://user@host/name` (through psycopg 3).
    """

    def __init__(self, url: str) -> None:
        self.url = _checked(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = _engine(self.url, self.is_sqlite)

    def migrate(self) -> None:
        """Create or upgrade the tables; almost free when there is nothing to do.

        Raises:
            BadInput: The database cannot be opened, or a newer release wrote it.
        """
        with self.read() as connection:
            found = migrations.version_of(connection)
        migrations.check(found)
        if found != migrations.HEAD:
            with self.transaction() as connection:
                migrations.migrate(connection)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Lend the one writing connection; commits at the end, rolls back on any error.

        Raises:
            Denied: A rule of the database refuses the change.
            Waiting: Another process writes for too long.
        """
        with self.engine.connect() as connection:
            writing = connection.execution_options(amends_writes=True)
            with writing.begin():
                if not self.is_sqlite:
                    writing.exec_driver_sql(_LOCK)
                yield writing

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Lend a connection that sees one consistent state and keeps no change."""
        with self.engine.connect() as connection:
            if not self.is_sqlite:
                connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with connection.begin() as whole:
                yield connection
                whole.rollback()

    def vacuum(self) -> None:
        """Rewrite the database so that deleted rows are in no page of it and in no log beside it.

        PostgreSQL rewrites its tables; its own write-ahead log and its backups expire by the server's settings.

        Raises:
            Waiting: Another process keeps the database open in a transaction.
        """
        self.engine.dispose()
        if self.is_sqlite:
            self._vacuum_file()
        else:
            self._vacuum_tables()

    def _vacuum_file(self) -> None:
        connection = self.engine.raw_connection()
        try:
            for statement in ("PRAGMA wal_checkpoint(TRUNCATE)", "VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
                answer = connection.cursor().execute(statement)
                if answer is not None and any(row[0] for row in answer):
                    raise Waiting(_IN_USE)
        except sqlite3.Error as error:
            raise _sentence(error) from error
        finally:
            connection.close()

    def _vacuum_tables(self) -> None:
        with self.engine.connect() as connection:
            alone = connection.execution_options(isolation_level="AUTOCOMMIT")
            try:
                for table in metadata.sorted_tables:
                    alone.exec_driver_sql(f"VACUUM FULL {table.name}")
            except Waiting as error:
                raise Waiting(_IN_USE) from error

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def _checked(url: str) -> URL:
    try:
        parsed = make_url(url)
    except Exception as error:
        raise BadInput(
            "the database URL cannot be read; write sqlite:///path or postgresql://user@host/name"
        ) from error
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise BadInput(f"a {parsed.get_backend_name()} database is not supported; use sqlite or postgresql")
    return parsed.set(drivername="postgresql+psycopg") if parsed.drivername == "postgresql" else parsed


def _engine(url: URL, is_sqlite: bool) -> Engine:
    if is_sqlite:
        _private(url.database)
    try:
        engine = create_engine(url, hide_parameters=True, pool_pre_ping=not is_sqlite)
    except ModuleNotFoundError as error:
        raise BadInput("PostgreSQL needs its driver; install amends[postgres]") from error
    event.listen(engine, "handle_error", _translate)
    event.listen(engine, "connect", _prepare_sqlite if is_sqlite else _prepare_postgres)
    if is_sqlite:
        event.listen(engine, "begin", _begin)
    return engine


def _private(database: str | None) -> None:
    if not database or database == ":memory:":
        raise BadInput("the ledger needs a database file; write sqlite:///path/to/ledger.db")
    path = Path(database)
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))


def _prepare_sqlite(driver: Any, _record: object) -> None:
    driver.isolation_level = None
    for pragma in (f"busy_timeout = {PATIENCE_MS}", *_PRAGMAS):
        driver.execute(f"PRAGMA {pragma}")


def _prepare_postgres(driver: Any, _record: object) -> None:
    driver.execute(f"SET lock_timeout = {PATIENCE_MS}")
    driver.commit()  # else the first rollback takes it back


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("amends_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _translate(context: ExceptionContext) -> AmendsError | None:
    if context.is_pre_ping:
        return None  # the pool asks whether a connection is alive, and opens another
    original = context.original_exception
    return original if isinstance(original, AmendsError) else _sentence(original)


def _sentence(error: BaseException) -> AmendsError:
    said = str(error).partition("\n")[0]
    if "amends: " in said:
        return Denied(said.partition("amends: ")[2])
    if "locked" in said or getattr(error, "sqlstate", None) == _LOCK_NOT_AVAILABLE:
        return Waiting("another process is writing to the database; try again when it has finished")
    if "full" in said or "disk I/O" in said:
        return BadInput("the disk of the database is full; make room and run the same command again")
    if "unable to open" in said or "connection" in said:
        return BadInput("the database cannot be opened; check its URL, its permissions and that its server runs")
    if "malformed" in said or "not a database" in said:
        return Broken("the database file is damaged; restore it with amends restore")
    return Broken(f"the database refused a statement ({type(error).__name__}: {said})")
