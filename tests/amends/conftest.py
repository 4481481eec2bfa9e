"""Databases on SQLite, and on PostgreSQL where AMENDS_TEST_POSTGRES names a server."""

from __future__ import annotations

import os
import secrets
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlsplit

import pytest

SERVER = os.environ.get("AMENDS_TEST_POSTGRES")
KINDS = ["sqlite", *(["postgresql"] if SERVER else [])]


@pytest.fixture(scope="session", params=KINDS)
def database_kind(request):
    """Return what kind of database a slow fixture is to use."""
    return request.param


@pytest.fixture(scope="session")
def make_postgres():
    """Return `make_postgres(template="") -> URL`, which makes a database that goes with the session.

    Args:
        template: The URL of another one that it shall be a copy of; nobody may have that open.
    """
    if not SERVER:
        pytest.skip("needs a PostgreSQL server; give its URL in AMENDS_TEST_POSTGRES")
    import psycopg

    made = []

    def make(template=""):
        made.append(f"test_{secrets.token_hex(6)}")
        like = f" TEMPLATE {urlsplit(template).path[1:]}" if template else ""
        with psycopg.connect(SERVER, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {made[-1]}{like}")
        return urlsplit(SERVER)._replace(path=f"/{made[-1]}").geturl()

    yield make
    with psycopg.connect(SERVER, autocommit=True) as connection:
        for name in made:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=KINDS)
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
        for name, role in roles.items():
            people.add(connection, name, role)
        return {name: people.get(connection, name) for name in roles}


@pytest.fixture
def erasure(crew):
    """Return a case of erasure that Rita asked for, not opened yet."""
    from amends.records import Case, CaseStatus, DataSubject

    received = datetime(2026, 3, 2, 9, tzinfo=UTC)
    subject, due = DataSubject("s_0123456789abcdef"), received + timedelta(days=31)
    return Case("case-1", "erasure", "assistant", subject, CaseStatus.LOCATING, crew["Rita"].id, "gdpr", received, due)


@pytest.fixture
def small_workspace(tmp_path):
    """Return a new workspace that runs in this process; its admin is signed in."""
    from amends.governor.workspace import create_workspace

    home = tmp_path / "home"
    home.mkdir()
    (home / "amends.toml").write_text('scheduler = "inline"\ncpus = 1\n', encoding="utf-8")
    workspace, _ = create_workspace(home)
    yield workspace
    workspace.close()


@pytest.fixture
def put_version(make_tiny, tmp_path):
    """Return `put_version(workspace, model, number, …) -> Version`, which enters a tiny version in the ledger alone.

    Each call makes other bytes; `based_on` makes a version that only refers to that base. MLflow knows nothing of it.
    """
    from amends.ledger import inventory, lineage
    from amends.ledger.inventory import StateBlob
    from amends.ledger.lineage import DataUse, Edge, Version
    from amends.records import canonical_json
    from amends.store.trees import put_tree

    def put(workspace, model, number, *, based_on=None, steps=(), data=(), state=None, case_id=None):
        directory = tmp_path / f"{model}-{number}"
        if based_on is None:
            make_tiny(directory, seed=number)
        else:
            (directory / "model").mkdir(parents=True)
            (directory / "model" / "reference.json").write_bytes(canonical_json({"base": based_on.digest}))
        recipe = {"schema": 1, "steps": list(steps), "made": f"{model}@{number}"}
        (directory / "recipe.json").write_bytes(canonical_json(recipe))
        digest = put_tree(workspace.blobs, directory)
        parents = [] if based_on is None else [Edge(digest, based_on.digest, "base")]
        with workspace.database.transaction() as connection:
            uses = [DataUse(digest, dataset, "train") for dataset in data]
            version = lineage.add_version(
                connection, Version(model, number, digest, recipe, case_id=case_id), parents, uses
            )
            blobs = [StateBlob(digest, name, blob, f"lineage-{model}") for name, blob in (state or {}).items()]
            inventory.add_state(connection, blobs)
        return version

    return put
