"""The database: one writer, consistent readers, and nothing left of what was deleted."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import inspect, select, text, update
from sqlalchemy.schema import CreateIndex, CreateTable

from amends.errors import BadInput, Broken, Denied, Waiting
from amends.ledger import audit, journal, lineage, migrations, triggers
from amends.ledger.actions import Action
from amends.ledger.database import Database
from amends.ledger.lineage import Edge, Version
from amends.ledger.tables import cases, metadata, schema_version, steps, versions


def append(connection, name):
    return audit.append(connection, id=name, actor="p-1", action=Action.CASE_STARTED, body={})


def test_migrating_creates_every_table_and_again_changes_nothing(database):
    database.migrate()
    with database.read() as connection:
        assert set(inspect(connection).get_table_names()) >= set(metadata.tables)
        assert migrations.version_of(connection) == migrations.HEAD


def test_an_older_schema_takes_the_steps_it_lacks(database, monkeypatch):
    def add_column(connection):
        connection.exec_driver_sql("ALTER TABLE cursors ADD COLUMN note TEXT")

    later = migrations.HEAD + 1
    monkeypatch.setattr(migrations, "STEPS", (*migrations.STEPS, add_column))
    monkeypatch.setattr(migrations, "HEAD", later)
    database.migrate()
    with database.read() as connection:
        assert migrations.version_of(connection) == later
        assert "note" in {column["name"] for column in inspect(connection).get_columns("cursors")}


def described(connection):
    """Return what the tables that older schemas had otherwise look like: columns, indexes, keys and rules."""
    seen, found = inspect(connection), {}
    for name in ("cases", "versions"):
        keys = [(tuple(key["constrained_columns"]), key["referred_table"]) for key in seen.get_foreign_keys(name)]
        found[name] = (
            {column["name"]: (str(column["type"]), column["nullable"]) for column in seen.get_columns(name)},
            {(index["name"], tuple(index["column_names"])) for index in seen.get_indexes(name)},
            (seen.get_pk_constraint(name)["constrained_columns"], keys),
            {rule["name"]: rule["sqltext"] for rule in seen.get_check_constraints(name)},
        )
    return found


def test_a_database_of_the_first_release_comes_to_the_same_tables_and_rules_and_keeps_its_rows(database):
    with database.read() as connection:
        wanted = described(connection)
    with database.transaction() as connection:
        as_it_was(connection)
        assert all(described(connection)[name] != wanted[name] for name in wanted)
        fill(connection)
    with pytest.raises(Broken, match="known_version_status"), database.transaction() as connection:
        lineage.set_status(connection, "bot", 2, "quarantined")
    database.migrate()
    with database.transaction() as connection:
        assert described(connection) == wanted and migrations.version_of(connection) == migrations.HEAD
        assert [(v.number, v.status) for v in lineage.versions_of(connection)] == [(1, "purged"), (2, "active")]
        assert lineage.ancestors(connection, "b" * 64)[0].digest == "a" * 64
        assert lineage.set_status(connection, "bot", 2, "quarantined").recipe == {"made": 2}
    with pytest.raises(Broken), database.transaction() as connection:
        connection.execute(update(versions).values(status="forgotten"))
    with pytest.raises(Denied, match="on whose behalf"), database.transaction() as connection:
        connection.execute(update(cases).where(cases.c.id == "case-2").values(parent="case-1"))


def test_a_database_of_schema_2_that_knew_quarantines_keeps_them(database):
    with database.transaction() as connection:
        fill(connection)
        lineage.set_status(connection, "bot", 2, "quarantined")
        wanted = described(connection)
        connection.execute(update(schema_version).values(version=2))
    database.migrate()
    with database.read() as connection:
        assert described(connection) == wanted
        assert [version.status for version in lineage.versions_of(connection)] == ["purged", "quarantined"]


def as_it_was(connection):
    """Bring the tables back to what the first release made, in a database without cases and versions."""
    cascade = "" if connection.dialect.name == "sqlite" else " CASCADE"
    for table in (cases, versions):
        without = [part for part in table.indexes if part.name != "cases_by_parent"]
        made = str(CreateTable(table).compile(dialect=connection.dialect))
        made = re.sub(r",?\s*(parent VARCHAR\(80\)|FOREIGN KEY\(parent\) REFERENCES cases \(id\))", "", made)
        connection.exec_driver_sql(f"DROP TABLE {table.name}{cascade}")
        connection.exec_driver_sql(made.replace("'active', 'quarantined', ", "'active', "))
        for index in without:
            connection.execute(CreateIndex(index))
    rule = next(rule for rule in triggers.RULES if rule[0] == "cases_keep_their_rules")
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("DROP FUNCTION cases_keep_their_rules()")
        triggers._postgres(connection, *rule[:3], "NEW.kind <> OLD.kind", rule[4])
    else:
        triggers._sqlite(connection, *rule[:3], "NEW.kind <> OLD.kind", rule[4])
    connection.execute(update(schema_version).values(version=1))


def fill(connection):
    """Enter two cases and two versions, one made from the other, as the first release did."""
    for id in ("case-1", "case-2"):
        connection.execute(cases.insert().values(**an_old_case(id)))
    lineage.add_version(connection, Version("bot", 1, "a" * 64, {"made": 1}, status="purged"))
    lineage.add_version(
        connection, Version("bot", 2, "b" * 64, {"made": 2}, case_id="case-1"), [Edge("b" * 64, "a" * 64, "step")]
    )


def an_old_case(id):
    at = datetime.now(UTC)
    times = dict.fromkeys(("received_at", "due_at", "opened_at", "updated_at"), at)
    named = {"kind": "training", "model": "bot", "subject": "s_nobody", "status": "locating", "requester": "p-1"}
    return {"id": id, "regime": "", "quorum": 0, "detail": {}, **named, **times}


def test_a_database_of_a_later_release_is_refused(database):
    with database.transaction() as connection:
        connection.execute(update(schema_version).values(version=99))
    with pytest.raises(BadInput, match=r"schema 99.*upgrade Amends"):
        database.migrate()


def test_an_error_in_a_transaction_leaves_nothing(database):
    with pytest.raises(KeyError), database.transaction() as connection:
        append(connection, "lost")
        raise KeyError
    with database.read() as connection:
        assert audit.head(connection) == (0, audit.GENESIS)


def test_a_reader_sees_one_state_while_somebody_writes(database):
    with database.read() as reading:
        assert audit.head(reading)[0] == 0
        with database.transaction() as connection:
            append(connection, "meanwhile")
        assert audit.head(reading)[0] == 0


def test_a_reader_cannot_leave_a_change(database):
    try:
        with database.read() as connection:
            append(connection, "not kept")
    except Broken:
        pass  # PostgreSQL refuses at once
    with database.read() as connection:
        assert audit.head(connection)[0] == 0


def test_many_writers_make_one_chain(database):
    def write(name):
        for number in range(10):
            with database.transaction() as connection:
                append(connection, f"{name}-{number}")

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as connection:
        assert audit.verify_chain(connection) == 40


def test_a_process_that_dies_in_a_transaction_leaves_nothing(database, database_url):
    code = """
import os, sys
from amends.ledger import audit
from amends.ledger.actions import Action
from amends.ledger.database import Database
with Database(sys.argv[1]).transaction() as connection:
    audit.append(connection, id="half", actor="p-1", action=Action.CASE_STARTED, body={})
    os.kill(os.getpid(), 9)
"""
    died = subprocess.run([sys.executable, "-c", code, database_url], check=False)
    assert died.returncode == -9
    with database.transaction() as connection:
        assert audit.head(connection)[0] == 0
        append(connection, "whole")


def test_a_missing_parent_row_is_refused_without_showing_values(database):
    with pytest.raises(Broken) as caught, database.transaction() as connection:
        connection.execute(steps.insert().values(case_id="secret-id", step="s", result={}, at=None))
    assert "secret-id" not in str(caught.value)


def drop_connections(database):
    """Close what lies in the pool, as a server that restarts does."""
    with database.read() as connection:
        held = connection.connection.driver_connection
    if database.is_sqlite:
        database.close()
    else:
        with Database(str(database.engine.url.render_as_string(False))).read() as connection:
            connection.execute(text(f"SELECT pg_terminate_backend({held.info.backend_pid})"))


def test_a_connection_that_was_dropped_is_opened_again(database):
    drop_connections(database)
    with database.transaction() as connection:
        append(connection, "after the restart")


def test_postgres_urls_use_psycopg_three():
    url = Database("postgresql://someone@127.0.0.1:1/nowhere").url
    assert url.drivername == "postgresql+psycopg"


def test_a_server_that_does_not_answer_is_a_sentence():
    with pytest.raises(BadInput, match="cannot be opened"):
        Database("postgresql://someone@127.0.0.1:1/nowhere").migrate()


@pytest.mark.parametrize("url", ["mysql://x/y", "nonsense", "sqlite://", "sqlite:///:memory:"])
def test_other_databases_are_refused(url):
    with pytest.raises(BadInput):
        Database(url)


def local(tmp_path: Path) -> Database:
    opened = Database(f"sqlite:///{tmp_path}/ledger.db")
    opened.migrate()
    return opened


def test_the_file_is_for_its_owner_only(tmp_path):
    local(tmp_path)
    assert stat.S_IMODE((tmp_path / "ledger.db").stat().st_mode) == 0o600


def test_sqlite_is_opened_with_its_safe_settings(tmp_path):
    with local(tmp_path).read() as connection:
        pragmas = ("journal_mode", "foreign_keys", "secure_delete", "synchronous")
        assert [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in pragmas] == ["wal", 1, 1, 2]


def file_bytes(tmp_path):
    return b"".join(path.read_bytes() for path in sorted(tmp_path.glob("ledger.db*")))


def test_after_a_vacuum_no_byte_of_a_deleted_row_is_left_and_those_of_a_living_one_are(tmp_path, erasure_row):
    database = local(tmp_path)
    with database.transaction() as connection:
        connection.execute(cases.insert().values(**erasure_row))
        journal.record_step(connection, "case-1", "gone", {"text": "needle-of-the-erased" * 500})
        connection.execute(cases.insert().values(**{**erasure_row, "id": "case-2"}))
        journal.record_step(connection, "case-2", "kept", {"text": "needle-of-the-living"})
    assert b"needle-of-the-erased" in file_bytes(tmp_path)
    with database.transaction() as connection:
        assert journal.forget_steps(connection, "case-1") == 1
    assert b"needle-of-the-erased" in file_bytes(tmp_path)  # the log beside the file still has it
    database.vacuum()
    left = file_bytes(tmp_path)
    assert b"needle-of-the-living" in left
    assert b"needle-of-the-erased" not in left


@pytest.fixture
def impatient(database, database_url, monkeypatch):
    """Return two processes' view of one database, neither of which waits long for the other."""
    database.close()
    monkeypatch.setattr("amends.ledger.database.PATIENCE_MS", 50)
    first, second = Database(database_url), Database(database_url)
    yield first, second
    first.close()
    second.close()


def test_a_vacuum_says_so_when_another_process_reads(impatient):
    database, other = impatient
    with other.read() as reading:
        audit.head(reading)
        with database.transaction() as connection:
            append(connection, "newer")
        with pytest.raises(Waiting, match="in use by another process"):
            database.vacuum()


def test_a_second_writer_that_waits_too_long_is_told(impatient):
    database, other = impatient
    with database.transaction(), pytest.raises(Waiting, match="another process is writing"), other.transaction():
        pass
    with other.transaction() as connection:
        append(connection, "afterwards")


def test_a_vacuum_keeps_what_is_there(database):
    with database.transaction() as connection:
        append(connection, "kept")
    database.vacuum()
    with database.read() as connection:
        assert audit.verify_chain(connection) == 1


def test_a_full_disk_is_one_sentence_and_nothing_is_lost(tmp_path):
    database = local(tmp_path)
    with database.transaction() as connection:
        append(connection, "before")
    code = """
import resource, signal, sys
from amends.errors import BadInput
from amends.ledger import audit
from amends.ledger.actions import Action
from amends.ledger.database import Database
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    with Database(sys.argv[1]).transaction() as connection:
        body = {"text": "x" * 3_000_000}
        audit.append(connection, id="large", actor="p-1", action=Action.CASE_STARTED, body=body)
except BadInput as error:
    sys.exit(0 if "disk of the database is full" in str(error) else 3)
"""
    url = f"sqlite:///{tmp_path}/ledger.db"
    assert subprocess.run([sys.executable, "-c", code, url], check=False).returncode == 0
    with database.transaction() as connection:
        append(connection, "after")
        assert audit.verify_chain(connection) == 2


def test_a_file_that_is_no_database_is_named_damaged(tmp_path):
    (tmp_path / "ledger.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(Broken, match="damaged"):
        Database(f"sqlite:///{tmp_path}/ledger.db").migrate()


def test_opening_the_ledger_imports_nothing_heavy(tmp_path):
    code = """
import sys
from amends.host import heavy_modules
from amends.ledger import aliases, approvals, audit, bundles, cases, checkpoints, copies, datasets, decisions
from amends.ledger import inventory, lineage, people, receipts, registry, suppression
from amends.ledger.database import Database
Database(sys.argv[1]).migrate()
sys.exit(",".join(heavy_modules()) or 0)
"""
    url, quiet = f"sqlite:///{tmp_path}/ledger.db", {**os.environ, "PYTHONWARNINGS": "error"}
    done = subprocess.run([sys.executable, "-c", code, url], check=False, env=quiet, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_rule_of_the_database_is_said_in_its_own_words(database):
    with pytest.raises(Denied, match=r"^audit is append-only$"):
        with database.transaction() as connection:
            append(connection, "first")
        with database.transaction() as connection:
            connection.execute(text("UPDATE audit SET actor = 'somebody else'"))
    with database.read() as connection:
        assert connection.execute(select(text("actor")).select_from(text("audit"))).scalar() == "p-1"


@pytest.fixture
def erasure_row():
    from datetime import UTC, datetime

    at = datetime(2026, 3, 2, tzinfo=UTC)
    names = {"id": "case-1", "kind": "erasure", "model": "m", "subject": "s_1", "status": "locating", "regime": "gdpr"}
    times = {"received_at": at, "due_at": at, "opened_at": at, "updated_at": at}
    return {**names, **times, "requester": "p-1", "quorum": 2, "detail": {}}
