"""What was changed in MLflow behind our back is found, told once, and put back where it is to be."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from story_promotable import in_mlflow, own, promoted

from amends.governor.models import reconciling
from amends.governor.models.reconciling import check_aliases, reconcile_due
from amends.ledger import approvals, cases, journal, people
from amends.ledger.mirror import put_alias
from amends.records import CaseStatus


def test_what_was_changed_in_mlflow_is_found_recorded_once_and_put_back(base):
    assert promoted(base).status == "complete"
    workspace = base.act("sven")
    assert check_aliases(workspace).found == ()
    client = workspace.registry.client
    put_alias(workspace.registry, "assistant", "champion", 1)
    workspace.registry.put_tag("assistant", 2, "amends.digest", "0" * 64)
    client.delete_model_version("assistant", "3")
    client.set_registered_model_alias("assistant", "mine", "1")
    for _ in range(2):
        report = check_aliases(workspace)
        assert {str(one.kind) for one in report.found} == {"alias", "unknown alias", "version", "tag"}
        assert report.mode == "observe" and not report.restored
    entries = base.audit("diverged:")
    assert len(entries) == 4 and {entry.actor for entry in entries} == {"reconciler"}
    assert in_mlflow(base).aliases["champion"] == 1

    report = check_aliases(workspace, is_enforced=True)
    assert {row["kind"] for row in report.rows() if row["restored"]} == {"alias", "tag"}
    assert in_mlflow(base).aliases == {"champion": 2, "mine": 1}
    assert {str(one.kind) for one in check_aliases(workspace).found} == {"unknown alias", "version"}
    client.delete_registered_model_alias("assistant", "champion")
    own(base, "reconcile: enforce")
    workspace.token = ""
    report = check_aliases(workspace)
    assert report.mode == "enforce" and in_mlflow(base).aliases["champion"] == 2
    assert len(base.audit("diverged:")) == 5 and len(base.audit("restored:")) == 3


def done(story):
    """Return what the log says of the reconciler's runs, oldest first."""
    return [entry.body for entry in story.audit("reconciled:")]


def let_pass(monkeypatch, minutes):
    """Let so many minutes pass for the reconciler."""
    later = reconciling.now() + timedelta(minutes=minutes)
    monkeypatch.setattr(reconciling, "now", lambda: later)


def test_pending_work_compares_the_registry_when_it_is_time_and_says_so(base, run, monkeypatch):
    first = run("olga", "work")
    assert "MLflow was compared with the ledger (observe): everything stands there as Amends left it" in first.stderr
    put_alias(base.workspace.registry, "assistant", "champion", 3)
    assert json.loads(run("olga", "work", "--json").stdout) == []  # not before its time
    let_pass(monkeypatch, 61)
    (row,) = json.loads(run("olga", "work", "--json").stdout)
    assert (row["kind"], row["model"], row["status"]) == ("reconciliation", "assistant", "differs")
    assert in_mlflow(base).aliases["champion"] == 3
    own(base, "reconcile: enforce")
    let_pass(monkeypatch, 61)
    told = run("olga", "work")
    assert told.exit_code == 0 and "put back" in told.stdout and in_mlflow(base).aliases["champion"] == 1
    assert [(one["mode"], one["found"], one["restored"]) for one in done(base)] == [
        ("observe", 0, 0), ("observe", 1, 0), ("enforce", 1, 1),
    ]  # fmt: skip


def sealed(story):
    """Return a sealed case whose purge is due and fails: nothing says what it is to delete."""
    now = datetime.now(UTC)
    case = replace(story.case(promoted(story).id), id="e-1", kind="erasure", received_at=now, due_at=now, plan=None)
    with story.workspace.database.transaction() as connection:
        cases.open_case(connection, replace(case, plan_digest=None, status=CaseStatus.AWAITING_APPROVAL))
        digest = cases.set_plan(connection, case.id, {"kind": "erasure"})
        for name in ("dora", "max"):
            approvals.approve(connection, case.id, digest, people.get(connection, name), "approve", "")
        for status in (CaseStatus.IN_PROGRESS, CaseStatus.SEALED):
            cases.set_status(connection, case.id, status)
        journal.record_step(connection, case.id, "seal", {"purge_after": now.isoformat()})
    return case.id


def test_a_purge_that_fails_every_time_keeps_the_registry_from_no_look(base, run):
    case = sealed(base)
    told = run("olga", "work", "--json")
    assert told.exit_code == 1 and len(done(base)) == 1
    (row,) = (row for row in json.loads(told.stdout) if row["id"] == case)
    assert row["status"] == "failed" and "has not done 'prepare' yet" in row["reason"]


def test_a_workspace_may_have_it_never_or_more_often(base, monkeypatch):
    settings = base.home / "amends.toml"
    said = settings.read_text()
    for minutes, times in ((0, 0), (5, 1), (5, 1)):
        settings.write_text(f"{said}reconcile_minutes = {minutes}\n")
        base.close()
        reconcile_due(base.act("olga"))
        assert len(done(base)) == times
    let_pass(monkeypatch, 6)
    reconcile_due(base.act("olga"))
    assert len(done(base)) == 2


def test_a_reconciler_that_dies_on_the_way_is_finished_by_the_next_process(base, monkeypatch):
    own(base, "reconcile: enforce")
    put_alias(base.workspace.registry, "assistant", "champion", 3)

    def putting(*where):
        put_alias(*where)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(reconciling, "put_alias", putting)
        with pytest.raises(KeyboardInterrupt):
            reconcile_due(base.act("olga"))
    assert (len(base.audit("diverged:")), len(base.audit("restored:")), done(base)) == (1, 0, [])
    base.close()
    assert reconcile_due(base.act("olga")).found == ()
    assert (len(base.audit("diverged:")), len(base.audit("restored:")), len(done(base))) == (1, 1, 1)


def test_what_people_put_back_by_hand_is_told_again_when_it_comes_again(base):
    registry = base.workspace.registry
    for _ in range(2):
        put_alias(registry, "assistant", "champion", 3)
        assert len(check_aliases(base.act("sven")).found) == 1
        put_alias(registry, "assistant", "champion", 1)
        assert check_aliases(base.act("sven")).found == ()
    assert [entry.action.rpartition(":")[2] for entry in base.audit() if ":alias:" in entry.action][-4:] == [
        "diverged", "restored", "diverged", "restored",
    ]  # fmt: skip


def test_a_registry_that_does_not_answer_fails_the_look_and_is_asked_again(base, run, monkeypatch):
    settings = base.home / "amends.toml"
    said = settings.read_text()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    settings.write_text(f'{said}mlflow = "http://127.0.0.1:9"\n')
    failed = run("olga", "work", "--json")
    (row,) = json.loads(failed.stdout)
    assert failed.exit_code == 1 and row["status"] == "failed" and "does not answer" in row["reason"]
    settings.write_text(said)
    assert done(base) == []
    assert run("olga", "work").exit_code == 0 and len(done(base)) == 1
