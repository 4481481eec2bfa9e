"""What goes wrong on the way leaves the champion where it is, says why, and can be tried again or called off."""

from __future__ import annotations

import os
import signal
from threading import Event

import pytest
from story_promotable import meanwhile

from amends.errors import BadInput, Denied, TaskFailed, Waiting
from amends.governor.cases import deciding
from amends.governor.judging import find_policy
from amends.governor.work import piece
from amends.governor.work.carrying import carry, purge_due, resume, retry, train
from amends.governor.workspace import open_workspace
from amends.ledger.registry import Registry

KILLS = """
import os, pathlib, signal, sys
if "amends.scheduler.worker" in sys.orig_argv:
    left = pathlib.Path(__file__).with_name("left")
    number = int(left.read_text())
    left.write_text(str(number - 1))
    if number > 0:
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def look_often(monkeypatch):
    """Let whoever waits for a job look after it more often than a tiny training takes."""
    monkeypatch.setattr(piece, "POLL_SECONDS", 0.01)


def stored(story):
    return set(story.workspace.blobs.digests())


def at_progress(story, of, then):
    """Do something in the middle of a training: at its third report."""
    told = []

    def bar(done, total, message):
        if message.startswith(of):
            told.append(done)
            if len(told) == 3:
                then()
                Event().wait(0.2)  # as long as a step of a real model

    story.workspace.bar = bar
    return told


def by_olga(story, case):
    """Cancel a case as somebody else would, who looks at the same workspace."""
    other = open_workspace(story.home, story.tokens["olga"])
    deciding.cancel(other, case.id, "withdrawn by the person")
    other.close()


def test_a_policy_that_denies_leaves_the_champion_and_can_be_mended(quick, told):
    told.set_policy(quick.home, told.LIGHT.replace(">= 0.0", ">= 2.0"))
    case = quick.approved()
    with pytest.raises(TaskFailed, match=r"the erasure policy denies: The model lost too much.*amends cases retry"):
        quick.carry(case)
    assert quick.case(case.id).status == "failed" and "lost too much" in quick.case(case.id).reason
    assert quick.versions() == [(1, "active")] and quick.champion().version == 1
    before = quick.steps(case.id)
    told.set_policy(quick.home)
    assert retry(quick.act("max"), case.id).status == "sealed"
    after = quick.steps(case.id)
    assert after["counterfactual"] == before["counterfactual"] and after["measure"] != before["measure"]
    assert quick.versions() == [(1, "sealed"), (2, "active")]
    assert quick.case(case.id).reason == ""


def test_who_is_removed_while_somebody_is_erased_has_to_be_replaced_by_another_approval(quick, monkeypatch):
    case = quick.approved()
    quick.hire("dirk", "dpo")
    meanwhile(monkeypatch, "measure", lambda workspace: quick.dismiss("dora"), kind="erasure")
    with pytest.raises(TaskFailed, match=r"the erasure policy denies: 2 different people .* must approve"):
        quick.carry(case)
    assert quick.versions() == [(1, "active")]
    assert deciding.replan(quick.act("olga"), case.id).status == "awaiting approval"
    assert quick.approve(case, "dirk", "max") == 0
    assert quick.carry(case).status == "sealed" and quick.champion().version == 2


def test_a_cancelled_case_stops_its_training_and_leaves_nothing(quick):
    case, before = quick.approved(), stored(quick)
    told = at_progress(quick, "shard", lambda: by_olga(quick, case))
    assert quick.carry(case).status == "cancelled"
    assert len(told) == 3  # it did not train on
    assert quick.steps(case.id) == {} and stored(quick) == before and quick.staged() == ()
    assert quick.versions() == [(1, "active")] and quick.champion().version == 1
    assert resume(quick.act("max")) == []
    with pytest.raises(Denied, match="is cancelled and past the point"):
        deciding.cancel(quick.act("olga"), case.id, "again")


def test_a_cancelled_training_leaves_nothing(story):
    from amends.ledger import cases

    before = stored(story)

    def cancel():
        with story.workspace.database.read() as connection:
            (running,) = cases.find(connection, kind="training", status="in progress")
        by_olga(story, running)

    told = at_progress(story, "shard", cancel)
    case, steps = story.train(model="another")
    assert (case.status, steps, len(told)) == ("cancelled", {}, 3)
    assert stored(story) == before and story.versions("another") == []


def test_an_erasure_waits_for_as_many_people_as_its_policy_asks_for_and_only_for_those_that_it_counts(quick, told):
    told.set_policy(quick.home, told.LIGHT.replace("count: 2", "count: 3"))
    case = quick.review(quick.request())
    with pytest.raises(Denied, match="you are admin; this plan is approved by dpo or ml-engineer or safety-engineer"):
        quick.approve(case, "admin")
    assert quick.approve(case, "dora", "max") == 1
    with pytest.raises(Waiting, match="lacks 1 approvals"):
        quick.carry(case)
    assert quick.approve(case, "sven") == 0
    assert quick.carry(case).status == "sealed"


@pytest.mark.parametrize("is_wanted", [True, False])
def test_an_erasure_whose_approver_left_before_the_promotion_is_planned_anew_or_cancelled(
    quick, monkeypatch, is_wanted
):
    case = quick.approved()
    quick.hire("dirk", "dpo")
    meanwhile(monkeypatch, "register", lambda workspace: quick.dismiss("dora"), kind="erasure")
    with pytest.raises(TaskFailed, match="assistant@2 is not promoted: Two different people"):
        quick.carry(case)
    assert quick.versions() == [(1, "active"), (2, "active")] and quick.champion().version == 1
    assert deciding.replan(quick.act("olga"), case.id).status == "awaiting approval"
    if is_wanted:
        assert quick.approve(case, "dirk", "max") == 0
        assert quick.carry(case).status == "sealed"
        assert quick.versions() == [(1, "sealed"), (2, "active")] and quick.champion().version == 2
    else:
        deciding.cancel(quick.act("olga"), case.id, "withdrawn by the person")
        assert quick.versions() == [(1, "active"), (2, "sealed")] and quick.champion().version == 1


def unanswered(*_, **__):
    raise BadInput("the MLflow server does not answer")


def test_what_has_moved_the_champion_here_and_not_in_mlflow_is_not_cancelled_and_goes_on(quick, monkeypatch):
    case = quick.approved()
    with monkeypatch.context() as patch:
        patch.setattr(Registry, "set_alias", unanswered)
        with pytest.raises(TaskFailed, match="the MLflow server does not answer"):
            quick.carry(case)
    assert quick.champion().version == 2 and quick.workspace.registry.alias("assistant", "champion") == 1
    with pytest.raises(Denied, match="is failed and past the point where it can be cancelled"):
        deciding.cancel(quick.act("olga"), case.id, "too late")
    assert quick.versions() == [(1, "active"), (2, "active")]
    assert retry(quick.act("max"), case.id).status == "sealed"
    assert quick.versions() == [(1, "sealed"), (2, "active")]
    assert quick.champion().version == quick.workspace.registry.alias("assistant", "champion") == 2


def test_it_is_too_late_to_cancel_once_a_version_is_there(after):
    with pytest.raises(Denied, match="is complete and past the point"):
        deciding.cancel(after.act("olga"), after.case_id, "too late")


@pytest.mark.slow
def test_one_of_two_is_cancelled_in_the_middle_and_the_other_begins_again(quick, told):
    first, second = quick.approved("Ines Varga"), quick.approved("Nadia Feld")
    at_progress(quick, "shard", lambda: by_olga(quick, first))
    assert quick.carry(first).status == "cancelled"
    assert quick.case(second.id).status == "sealed"
    assert [case.id for case in quick.purge()] == [second.id]
    assert told.everywhere(quick.home, "Nadia Feld") == []
    assert quick.versions() == [(1, "purged"), (2, "active")] and quick.staged() == ()


@pytest.mark.slow
def test_a_killed_worker_is_tried_again_and_at_last_given_up(quick, tmp_path, monkeypatch, forks):
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(KILLS)
    (site / "left").write_text("4")
    monkeypatch.setenv("PYTHONPATH", str(site))
    case = quick.approved()
    with forks.apart():  # a fork has been through `site` already
        with pytest.raises(TaskFailed, match="its process was killed 3 times; it may need more than the 3 GB"):
            quick.carry(case)
        assert quick.case(case.id).status == "failed" and quick.champion().version == 1
        assert quick.staged() == ()
        assert retry(quick.act("max"), case.id).status == "sealed"  # whose first worker is killed as well
    assert int((site / "left").read_text()) == -1


@pytest.fixture
def interruptible():
    """Let an interrupt be one: a shell makes what it runs in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
def test_an_interrupted_process_leaves_the_case_to_the_next(quick, interruptible):
    case = quick.approved()
    at_progress(quick, "shard", lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        quick.carry(case)
    quick.close()
    assert quick.case(case.id).status == "in progress"
    assert [done.status for done in resume(quick.act("max"))] == ["sealed"]
    assert quick.versions() == [(1, "sealed"), (2, "active")]
    assert quick.case(case.id).reason == ""


def test_a_training_that_fails_says_why_and_names_no_champion(story):
    with pytest.raises(TaskFailed, match=r"training\.shards failed: BadInput"):
        train(story.act("max"), base="tiny@1", data="people", model="odd", parameters={"layers": 9}, seed=3)
    assert story.versions("odd") == [] and story.champion("odd") is None
    assert find_policy(story.workspace, "promotion").name == "promotion"


def test_unattended_work_carries_out_what_was_approved_and_purges_only_what_is_due(quick):
    case = quick.approved()
    workspace = quick.act("max")
    workspace.token = ""
    workspace.__dict__.pop("actor", None)
    assert carry(workspace, case.id).status == "sealed"
    assert purge_due(workspace) == [] and resume(workspace) == []
    with pytest.raises(Denied, match="nobody is signed in"):
        purge_due(workspace, now=True)
