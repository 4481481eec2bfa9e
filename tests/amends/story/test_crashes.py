"""A process killed at any boundary or in the middle of training: started again, the case ends with one result."""

from __future__ import annotations

from pathlib import Path

import pytest

from amends.governor.cases.viewing import certificate_of
from amends.governor.proof.certificates import verify_certificate
from amends.governor.work import durable
from amends.ledger import aliases, checkpoints, receipts
from amends.ledger.tables import receipts as receipts_table

pytestmark = pytest.mark.slow
REGISTRY = "amends.ledger.registry:Registry"
INSIDE = {
    "rebuild": [["training", "0"], ["training", "5"]],
    "counterfactual": [["training", "3"]],  # and leave its worker behind
    "register": [
        [f"{REGISTRY}._uploaded", "after"],  # files, and no version
        [f"{REGISTRY}.register_version", "after"],  # a version, and nothing in the ledger
    ],
    "promote": [
        ["amends.ledger.aliases:move", "after"],  # in the ledger, but not committed
        [f"{REGISTRY}.set_alias", "before"],  # moved here, and not in MLflow
    ],
    "purge:purge": [
        [f"{REGISTRY}._empty", "after"],  # a version without files
        [f"{REGISTRY}.purge_version", "after"],
        ["amends.store.local:LocalBlobs._remove", "after"],
        ["amends.ledger.database:Database.vacuum", "before"],
    ],
    "purge:scan": [["amends.governor.work.scouring:scan", "after"]],  # what was planted for the scan lies there
    "purge:attest": [
        ["amends.governor.proof.closing:issue", "after"],  # a certificate that nobody entered
        ["amends.governor.work.attesting:issue_certificate", "after"],
    ],
}


def boundaries_of(steps):
    """Return where to die: before each step, inside it where that leaves something half done, and after it."""
    return [place for step in steps for place in ([step, "before"], *INSIDE.get(step, ()), [step, "after"])]


ENDS = [["finish", "before"], ["finish", "after"]]
ERASURE = [["begin", "after"], *boundaries_of(durable.ERASURE), *ENDS]
PURGE = [["begin", "after"], *boundaries_of(f"purge:{step}" for step in durable.PURGE), *ENDS]


def check_once(story, case, version):
    """Check that everything there is, is there once."""
    with story.workspace.database.read() as connection:
        moves = aliases.history(connection, "assistant", "champion")
        assert [move.new_number for move in moves] == list(range(1, version + 1))
        checkpoints.verify_checkpoints(connection, story.workspace.keyring.public_keys())
    ids = [entry.id for entry in story.audit()]
    assert len(ids) == len(set(ids))
    registered = [entry for entry in story.audit() if entry.action == "model:version:registered"]
    assert len(registered) == version
    assert story.staged() == () and story.workspace.blobs.quarantined() == ()
    registry = story.workspace.registry
    alive = {number for number, status in story.versions() if status != "purged"}
    versions = registry.client.search_model_versions("name = 'assistant'")
    assert {int(found.version) for found in versions} == alive
    models = registry.client.search_logged_models([registry.experiment("amends/models")])
    named = {found.tags["amends.model_id"] for found in versions}
    assert {model.model_id for model in models if model.name == "assistant"} == named
    assert registry.alias("assistant", "champion") == version


def test_killed_at_every_boundary_of_an_erasure_and_its_purge(quick, told):
    case = quick.approved()
    steps = told.telling.die_at(quick, case, [*ERASURE, *PURGE])
    assert quick.case(case.id).status == "complete"
    done = quick.steps(case.id)
    assert done["rebuild"]["digest"] == done["counterfactual"]["digest"] == quick.champion().digest
    assert quick.versions() == [(1, "purged"), (2, "active")]
    check_once(quick, case, 2)
    sealed = next(one for one in steps if one["boundary"] == ["finish", "after"])
    assert sealed["status"] == "sealed"  # an erasure that is carried on does not slide into its purge
    closing = [entry.action for entry in quick.audit(f"{case.id}:") if entry.action.startswith("case:")]
    for action in ("case:request:closed", "case:certificate:signed", "case:subject:purged"):
        assert closing.count(action) == 1
    files = certificate_of(quick.workspace, case.id)
    said = verify_certificate(Path(files["envelope"]), quick.workspace.keyring.public_keys())
    with quick.workspace.database.read() as connection:
        (entered,) = connection.execute(receipts_table.select()).all()
        assert receipts.find(connection, entered.commitment).certificate == said["digest"]
    assert told.everywhere(quick.home, "Ines Varga") == told.everywhere(quick.home.parent / "tmp", "Ines Varga") == []
    assert not list((quick.home / "cache" / "scratch").iterdir()) and not list(quick.home.rglob("*.partial"))


def rows_of(url):
    """Return every row of every table of a PostgreSQL database as text, read past everything that is under test."""
    import psycopg

    tables = (
        "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE' "
        "AND table_schema NOT IN ('pg_catalog', 'information_schema')"
    )
    with psycopg.connect(url) as connection:
        connection.execute("SET bytea_output = 'escape'")  # bytes as text, where they are some
        found = connection.execute(tables).fetchall()
        assert len(found) > 5
        return [
            str(row)
            for schema, table in found
            for row in connection.execute(f'SELECT t::text FROM "{schema}"."{table}" t').fetchall()
        ]


def test_on_postgresql_a_killed_erasure_ends_with_one_result_and_no_row_names_the_person(on_postgres, told):
    assert any("Olga" in row or "olga" in row for row in rows_of(on_postgres.databases[0]))  # this search can find
    case = on_postgres.approved()
    dying = [["begin", "after"], ["training", "3"], ["rebuild", "after"], ["promote", "before"], ["finish", "after"]]
    dying += [["purge:purge", "after"], ["purge:attest", "after"]]
    told.telling.die_at(on_postgres, case, dying)
    assert on_postgres.case(case.id).status == "complete"
    assert on_postgres.versions() == [(1, "purged"), (2, "active")]
    check_once(on_postgres, case, 2)
    for url in on_postgres.databases:
        rows = rows_of(url)
        assert rows and not any("Ines" in row or "ines.varga" in row for row in rows)
