"""What a promotion is judged by: evidence and its age, readings that are no numbers, the champion, reviewers."""

from __future__ import annotations

import pytest
from story_promotable import asked, failed, in_mlflow, own

from amends.errors import TaskFailed
from amends.governor.cases.changing import open_change
from amends.governor.cases.promoting import open_promotion
from amends.governor.work.carrying import retry
from amends.ledger import datasets


def aged(story, days):
    """Let the decision on version 2 be so many days old, which no statement of Amends could."""
    with story.workspace.database.transaction() as connection:
        rules = connection.exec_driver_sql(
            "SELECT name, sql FROM sqlite_master WHERE tbl_name = 'decisions'"
        ).fetchall()
        rules = [(name, text) for name, text in rules if text and text.startswith("CREATE TRIGGER")]
        for name, _ in rules:
            connection.exec_driver_sql(f"DROP TRIGGER {name}")
        age = f"-{days} days"
        connection.exec_driver_sql(
            "UPDATE decisions SET at = strftime('%Y-%m-%dT%H:%M:%S.000000+00:00', at, ?) WHERE policy = 'toying'",
            (age,),
        )
        for _, text in rules:
            connection.exec_driver_sql(text)


def test_evidence_that_is_old_is_read_and_judged_again(base):
    aged(base, 40)
    case = asked(base)
    base.approve(case)
    assert base.carry(case).status == "complete"
    toying, promotion = base.decisions(case.id)
    assert (toying.policy, promotion.inputs["facts"]["evidence_age_days"]) == ("toying", 0)
    assert {r["name"] for r in promotion.inputs["after"]} >= {"toy.success/edits", "utility.perplexity/perplexity"}


def test_evidence_is_judged_again_with_the_approvals_that_counted_when_the_version_was_made(base):
    policy = base.home / "policies" / "toying.yaml"
    policy.write_text(policy.read_text().replace("{count: 0}", "{count: 2, roles: [dpo, ml-engineer]}"))
    change = open_change(base.act("sven"), model="assistant", policy="toying", records={"edits": "facts"}, seed=7)
    base.approve(change)
    assert base.carry(change).status == "complete"
    back = asked(base, "assistant@1")
    base.approve(back)
    assert base.carry(back).status == "complete"
    aged(base, 40)
    base.hire("dirk", "dpo")
    base.dismiss("dora")
    case = asked(base, "assistant@4")
    base.approve(case, "dirk", "max")
    assert base.carry(case).status == "complete"
    toying, promotion = base.decisions(case.id)
    assert len(toying.inputs["approvals"]) == len(promotion.inputs["approvals"]) == 2
    assert toying.inputs["approvals"] == base.decisions(change.id)[0].inputs["approvals"]
    assert toying.inputs["approvals"] != promotion.inputs["approvals"]


def test_evidence_that_is_older_than_the_policy_allows_denies(base):
    aged(base, 100)
    own(base, "evidence: {again_after_days: 1000}")
    with pytest.raises(TaskFailed, match=r"The evidence is too old. \(evidence_age_days 100\)"):
        asked(base)
    assert base.champion().version == 1


def test_evidence_that_cannot_be_read_again_keeps_its_age(base):
    aged(base, 100)
    own(base)
    with base.workspace.database.transaction() as connection:
        (facts,) = datasets.find(connection, status="active")
        connection.exec_driver_sql("DELETE FROM version_data")  # it is not about who was erased
        datasets.set_status(connection, facts.digest, "superseded")
    with pytest.raises(TaskFailed, match="The evidence is too old"):
        asked(base)


def test_a_reading_that_is_no_number_promotes_nothing(base, monkeypatch):
    own(base, "probes: {toy.odd: {}}")
    with pytest.raises(TaskFailed, match="did not allow the candidate"):
        open_promotion(base.act("sven"), "tiny@1", "champion")  # imported: nobody judged it
    rule = "expr: readings['toy.odd/value'].value <= 1.0\n    message: It is odd.\n"
    own(base, "probes: {toy.odd: {}}", f"  - id: odd\n    severity: warn\n    {rule}")
    with pytest.raises(TaskFailed, match=r"It is odd. \(toy.odd/value has a value that is no finite number\)"):
        asked(base)
    monkeypatch.setenv("TOY_ODD", "0.5")
    assert asked(base).status == open_promotion(base.act("sven"), "tiny@1", "champion").status == "complete"


def test_a_candidate_is_compared_with_the_champion_where_there_is_one(base, monkeypatch):
    monkeypatch.setenv("TOY_ODD", "0.5")
    rule = "expr: readings['toy.odd/value'].value < champion['toy.odd/value'].value\n    message: It is no better.\n"
    own(base, "probes: {toy.odd: {}}", f"  - id: better\n    severity: deny\n    {rule}")
    with pytest.raises(TaskFailed, match=r"It is no better. \(toy.odd/value of the champion value 0.5, toy.odd/value"):
        asked(base)
    first = open_promotion(base.act("sven"), "tiny@1", "champion")
    assert first.status == "complete"
    answers = {answer.rule: answer for answer in base.decisions(first.id)[-1].verdict.answers}
    assert answers["better"].reason.startswith("not asked: the alias has never stood anywhere")


def test_a_reviewer_that_raises_objects(base, monkeypatch):
    case = asked(base)
    base.approve(case)
    monkeypatch.setenv("TOY_REVIEWER", "raises")
    assert "reviewer 'toy' failed (RuntimeError)" in failed(base, case)
    assert base.champion().version == in_mlflow(base).aliases["champion"] == 1
    monkeypatch.delenv("TOY_REVIEWER")
    assert retry(base.act("max"), case.id).status == "complete"
