"""What goes wrong on the way of a promotion, and what may stand nowhere, whoever approved it."""

from __future__ import annotations

import pytest
from story_promotable import asked, failed, in_mlflow, meanwhile

from amends.errors import Waiting
from amends.governor.cases import deciding
from amends.governor.models.history import alias_history
from amends.governor.models.reconciling import check_aliases
from amends.governor.models.signatures import signature_file
from amends.governor.work import durable
from amends.governor.work.carrying import resume, retry
from amends.ledger import datasets, lineage
from amends.ledger.mirror import put_alias
from amends.ledger.registry import Registry


@pytest.mark.parametrize("step", ["prepare", "measure"])
def test_an_alias_that_is_moved_by_hand_on_the_way_stops_it_until_it_is_put_back(base, step, monkeypatch):
    case = asked(base)
    base.approve(case)
    meanwhile(monkeypatch, step, lambda workspace: put_alias(workspace.registry, "assistant", "champion", 3))
    assert "assistant@champion was moved in MLflow to 3, outside Amends; see `amends aliases check`" in failed(
        base, case
    )
    assert base.champion().version == 1 and in_mlflow(base).aliases["champion"] == 3
    report = check_aliases(base.act("sven"), is_enforced=True)
    assert [row["restored"] for row in report.rows()] == [True] and in_mlflow(base).aliases["champion"] == 1
    assert retry(base.act("max"), case.id).status == "complete"
    assert base.champion().version == in_mlflow(base).aliases["champion"] == 2


def test_who_was_removed_after_approving_has_no_say_any_more(base):
    case = asked(base)
    base.approve(case)
    base.dismiss("dora")
    with pytest.raises(Waiting, match="lacks 1 approvals"):
        base.carry(case)
    assert base.champion().version == 1


def test_who_is_removed_on_the_way_is_replaced_by_another_approval(base, monkeypatch):
    case = asked(base)
    base.approve(case)
    base.hire("dirk", "dpo")
    meanwhile(monkeypatch, "measure", lambda workspace: base.dismiss("dora"))
    assert "Two different people (dpo, ml-engineer, safety-engineer) other than the requester" in failed(base, case)
    assert base.champion().version == 1
    assert deciding.replan(base.act("sven"), case.id).status == "awaiting approval"
    assert base.approve(case, "dirk") == 0
    assert base.carry(case).status == "complete" and base.champion().version == 2


def sealed(story):
    with story.workspace.database.transaction() as connection:
        lineage.set_status(connection, "assistant", 2, "sealed")
    return "assistant@2 is sealed and cannot be champion"


def exchanged(story):
    with story.workspace.database.read() as connection:
        digests = [lineage.get(connection, "assistant", number).digest for number in (2, 3)]
    two, three = (signature_file(story.workspace, digest) for digest in digests)
    two.write_bytes(three.read_bytes())
    return "assistant@2 is not signed by this workspace"


def changed(story):
    with story.workspace.database.read() as connection:
        place = lineage.get(connection, "assistant", 2).mlflow_uri
    (weights,) = sorted(story.home.glob(f"**/{place.rpartition('/models/')[2]}/**/*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    return "the files of assistant@2 in MLflow were changed"


def erased(story):
    with story.workspace.database.transaction() as connection:
        (facts,) = datasets.find(connection, status="active")
        datasets.set_status(connection, facts.digest, "superseded")
    return "assistant@2 comes from data that somebody was erased from since"


@pytest.mark.parametrize("harm", [sealed, exchanged, changed, erased])
def test_what_may_stand_nowhere_is_refused_whoever_approved(base, harm):
    case = asked(base)
    base.approve(case)
    assert harm(base) in failed(base, case)
    assert base.champion().version == in_mlflow(base).aliases["champion"] == 1


@pytest.mark.parametrize("step", ["prepare", "promote"])
def test_while_mlflow_is_down_it_fails_and_goes_on_afterwards(base, step, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    case = asked(base)
    base.approve(case)
    workspace = base.act("max")
    up, down = workspace.registry, Registry("http://127.0.0.1:9")
    inner = durable.PROMOTION[step]

    def unplugged(workspace, work):
        workspace.__dict__["registry"] = down
        return inner(workspace, work)

    with monkeypatch.context() as patch:
        patch.setitem(durable.PROMOTION, step, unplugged)
        assert "the MLflow server does not answer" in failed(base, case)
    workspace.__dict__["registry"] = up
    assert base.champion().version == 1
    assert retry(base.act("max"), case.id).status == "complete"
    assert base.champion().version == in_mlflow(base).aliases["champion"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("step", ["prepare", "measure", "promote"])
def test_a_promotion_that_stops_between_steps_is_finished_by_the_next_process(base, step, monkeypatch):
    case = asked(base)
    base.approve(case)
    inner = durable.PROMOTION[step]

    def stopping(workspace, work):
        inner(workspace, work)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setitem(durable.PROMOTION, step, stopping)
        with pytest.raises(KeyboardInterrupt):
            base.carry(case)
    base.close()
    assert [done.status for done in resume(base.act("max"))] == ["complete"]
    assert base.champion().version == in_mlflow(base).aliases["champion"] == 2
    assert len(alias_history(base.workspace, "assistant")) == 2
