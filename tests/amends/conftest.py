"""The workspace's database on SQLite, and on PostgreSQL where AMENDS_TEST_POSTGRES names a server."""

from __future__ import annotations

import os
import secrets
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest

SERVER = os.environ.get("AMENDS_TEST_POSTGRES")


@pytest.fixture(params=["sqlite", *(["postgresql"] if SERVER else [])])
def database_url(request, tmp_path):
    """Return the URL of an empty database; on PostgreSQL a schema of its own."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/ledger.db"
        return
    import psycopg

    schema = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(SERVER, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
    yield f"{SERVER}{'&' if '?' in SERVER else '?'}options={quote('-csearch_path=' + schema)}"
    with psycopg.connect(SERVER, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA {schema} CASCADE")


@pytest.fixture
def database(database_url):
    """Return a migrated database."""
    from amends.ledger.database import Database

    opened = Database(database_url)
    opened.migrate()
    yield opened
    opened.close()


@pytest.fixture
def keyring(tmp_path):
    """Return a fresh keyring."""
    from amends.vault.keys import Keyring

    return Keyring.create(tmp_path / "keys")


@pytest.fixture
def crew(database):
    """Return four people by name: Rita asked, Dora and Otto decide, Max is an admin."""
    from amends.ledger import people

    roles = {"Rita": "requester", "Dora": "dpo", "Otto": "operator", "Max": "admin"}
    with database.transaction() as connection:
        tokens = {name: people.add(connection, name, role) for name, role in roles.items()}
        return {name: people.authenticate(connection, token) for name, token in tokens.items()}


@pytest.fixture
def erasure(crew):
    """Return a case of erasure that Rita asked for, not opened yet."""
    from amends.records import Case, CaseStatus, DataSubject

    received = datetime(2026, 3, 2, 9, tzinfo=UTC)
    subject, due = DataSubject("s_0123456789abcdef"), received + timedelta(days=31)
    return Case("case-1", "erasure", "assistant", subject, CaseStatus.LOCATING, crew["Rita"].id, "gdpr", received, due)
