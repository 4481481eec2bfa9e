"""The doctor finds what is broken, says how to mend it, and never breaks itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import ModuleType

import pytest

from amends import host
from amends.governor.upkeep import vitals
from amends.governor.upkeep.doctor import State, examine, look_at_plugins
from amends.ledger import cases, journal
from amends.records import Case, CaseStatus, DataSubject


def found(home):
    return {check.name: check for check in examine(home)}


def open_erasure(workspace, id, due_at):
    now = datetime.now(UTC)
    case = Case(id, "erasure", "m", DataSubject("s_x"), CaseStatus.LOCATING, workspace.actor.id, "gdpr", now, due_at)
    with workspace.database.transaction() as connection:
        cases.open_case(connection, case)


def test_a_new_workspace_is_well_and_nothing_is_started_or_made(small_workspace):
    before = sorted(path.name for path in small_workspace.home.iterdir())
    checks = found(small_workspace.home)
    assert {name for name, check in checks.items() if check.state is State.BROKEN} == set()
    assert list(checks) == [
        "workspace", "settings", "keys", "database", "audit log", "blobs", "mlflow", "scheduler", "deadlines",
        "purges", "versions", "aliases", "policies", "plugins", "packages", "disk",
    ]  # fmt: skip
    assert checks["audit log"].sentence.startswith("1 entries are chained")
    assert not checks["audit log"].mend
    assert sorted(path.name for path in small_workspace.home.iterdir()) == before


def test_where_there_is_no_workspace_it_says_so_and_looks_at_the_machine(tmp_path):
    checks = found(tmp_path / "nowhere")
    assert checks["workspace"].state is State.BROKEN
    assert "amends init" in checks["workspace"].mend
    assert set(checks) == {"workspace", "plugins", "packages", "disk"}
    assert not (tmp_path / "nowhere").exists()


def test_a_key_that_others_can_read_is_found_with_the_command_that_mends_it(small_workspace):
    key = small_workspace.home / "keys" / "suppression"
    key.chmod(0o644)
    check = found(small_workspace.home)["keys"]
    assert check.state is State.BROKEN
    assert f"chmod 600 {key}" in check.mend


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("scheduler = ", {"settings"}),
        ('shceduler = "inline"', {"settings"}),
        ('scheduler = "slurm"', {"settings"}),
        ('mlflow = "http://127.0.0.1:9"', {"mlflow"}),
        ('blobs = "mlflow-artifacts:/amends"', {"blobs"}),
        ('database = "oracle://x"', {"database"}),
        ('database = "sqlite:///{home}/other.db"', {"database"}),
    ],
)
def test_settings_that_lead_nowhere_are_found(small_workspace, monkeypatch, text, broken):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (small_workspace.home / "amends.toml").write_text(text)
    checks = found(small_workspace.home)
    assert broken == {name for name, check in checks.items() if check.state is State.BROKEN}
    assert all(checks[name].mend for name in broken)


def test_a_changed_row_of_the_log_is_found(small_workspace):
    with small_workspace.database.transaction() as connection:
        connection.exec_driver_sql("DROP TRIGGER audit_is_kept_update")
        connection.exec_driver_sql("UPDATE audit SET actor = 'somebody else'")
    check = found(small_workspace.home)["audit log"]
    assert check.state is State.BROKEN
    assert "audit entry 1" in check.sentence
    assert "backup" in check.mend


def test_a_damaged_database_is_found_and_the_rest_is_still_looked_at(small_workspace):
    small_workspace.close()
    (small_workspace.home / "amends.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    checks = found(small_workspace.home)
    assert checks["database"].state is State.BROKEN
    assert "restore" in checks["database"].mend
    assert "audit log" not in checks
    assert checks["blobs"].state is State.OK


def test_a_blob_that_was_set_aside_is_found(small_workspace):
    digest = small_workspace.blobs.put_bytes(b"weights")
    (small_workspace.blobs.root / "sha256" / digest[:2] / digest).write_bytes(b"wrights")
    with pytest.raises(Exception, match="set aside"):
        small_workspace.blobs.get(digest)
    check = found(small_workspace.home)["blobs"]
    assert check.state is State.BROKEN
    assert digest[:12] in check.sentence


def test_a_broken_plugin_is_named():
    module = ModuleType("bad")
    module.amends_operations = lambda: ["not an operation"]
    check = look_at_plugins(host.load([("bad", module)]))
    assert check.state is State.BROKEN
    assert "'bad'" in check.sentence
    assert "uninstall" in check.mend


def test_a_policy_with_a_mistake_or_without_its_probe_is_found(small_workspace):
    folder = small_workspace.home / "policies"
    folder.mkdir()
    (folder / "promotion.yaml").write_text("name: promotion\nrules: [")
    check = found(small_workspace.home)["policies"]
    assert check.state is State.BROKEN
    assert "promotion.yaml" in check.sentence
    (folder / "promotion.yaml").write_text(
        "name: promotion\ndescription: d\nprobes: {toy.none: {}}\nrules:\n"
        "  - {id: a, severity: deny, message: m, expr: 'readings[\"toy.none/x\"].value <= 1.0'}\n"
    )
    check = found(small_workspace.home)["policies"]
    assert check.state is State.BROKEN
    assert "toy.none" in check.sentence


def test_overdue_requests_and_due_purges_are_counted(small_workspace):
    now = datetime.now(UTC)
    open_erasure(small_workspace, "e-late", now - timedelta(days=1))
    open_erasure(small_workspace, "e-early", now + timedelta(days=1))
    check = found(small_workspace.home)["deadlines"]
    assert check.state is State.BROKEN
    assert "1 of 2" in check.sentence
    assert "e-late" in check.mend
    with small_workspace.database.transaction() as connection:
        connection.exec_driver_sql("DROP TRIGGER quorum_on_start")
        cases.set_status(connection, "e-early", CaseStatus.IN_PROGRESS)
        cases.set_status(connection, "e-early", CaseStatus.SEALED)
        journal.record_step(connection, "e-early", "seal", {"purge_after": (now - timedelta(days=1)).isoformat()})
    check = found(small_workspace.home)["purges"]
    assert check.state is State.WARN
    assert "e-early" in check.sentence
    with small_workspace.database.transaction() as connection:
        cases.set_status(connection, "e-early", CaseStatus.FAILED, reason="the scan found the subject in 2 places")
    check = found(small_workspace.home)["purges"]
    assert (check.state, check.sentence) == (State.BROKEN, "the purge of 1 cases failed, the first is e-early")


def test_an_alias_that_mlflow_does_not_know_is_found(small_workspace, put_version):
    from amends.ledger import aliases

    put_version(small_workspace, "tiny", 1)
    with small_workspace.database.transaction() as connection:
        aliases.move(connection, model="tiny", alias="champion", expected=None, new=1, actor="p")
    _ = small_workspace.registry.client.search_experiments()  # makes the database
    check = found(small_workspace.home)["aliases"]
    assert check.state is State.BROKEN
    assert "tiny@champion" in check.sentence


def test_little_room_and_missing_packages_are_found(small_workspace, monkeypatch):
    monkeypatch.setattr(vitals, "LEAST_DISK_GB", 1e9)
    monkeypatch.setattr("amends.governor.upkeep.doctor.PACKAGES", {"llm_nothing": "llm-nothing"})
    checks = found(small_workspace.home)
    assert checks["disk"].state is State.WARN
    assert checks["packages"].state is State.BROKEN
    assert checks["packages"].mend == "run: pip install --no-deps llm-nothing"


def test_deep_starts_the_scheduler_and_says_what_it_has(small_workspace):
    (check,) = [check for check in examine(small_workspace.home, deep=True) if check.name == "scheduler"]
    assert check.state is State.OK
    assert "cpus" in check.sentence
