"""A promotion: planned, approved, judged and moved, back and forth, and followed from the command line."""

from __future__ import annotations

import json

import pytest
from story_promotable import asked, failed, in_mlflow, own, promoted

from amends.errors import BadInput, Denied, TaskFailed, UnknownModel, Waiting
from amends.governor.cases import deciding
from amends.governor.cases.promoting import open_rollback
from amends.governor.judging import replay_decision
from amends.governor.models.history import alias_history
from amends.ledger import aliases


def test_a_promotion_is_planned_approved_judged_and_kept_in_the_history(base):
    case = asked(base)
    assert (case.kind, case.status, case.plan["alias"]) == (
        "promotion", "awaiting approval", {"name": "champion", "from": 1},
    )  # fmt: skip
    with pytest.raises(Waiting, match="lacks 2 approvals"):
        base.carry(case)
    with pytest.raises(Denied, match="you asked for case"):
        base.approve(case, "sven")
    with pytest.raises(Denied, match="this needs dpo or ml-engineer"):
        base.approve(case, "olga")
    with pytest.raises(Denied, match="a promotion to this alias is approved by dpo or ml-engineer or safety-engineer"):
        base.approve(case, "admin")
    base.approve(case)
    assert base.carry(case).status == "complete"
    assert base.champion().version == in_mlflow(base).aliases["champion"] == 2
    (decision,) = base.decisions(case.id)
    facts = decision.inputs["facts"]
    assert (facts["environment"], facts["licence"], facts["evidence_age_days"]) == ("champion", "Apache-2.0", 0)
    assert (facts["requested"], facts["signature_verified"], facts["descends_from_erased"]) == (True, True, False)
    assert replay_decision(base.workspace, decision.id)[1]
    first, last = alias_history(base.workspace, "assistant")
    assert (first["from"], first["to"], first["case"]) == (None, 1, None)
    assert (last["from"], last["to"], last["by"], last["reason"]) == (1, 2, "sven", "it knows more")
    assert sorted(last["approvals"]) == ["dora (dpo)", "max (ml-engineer)"]
    assert (last["policy_digest"], last["case"]) == (decision.policy_digest, case.id)


def test_each_alias_needs_the_approvals_of_its_environment(base):
    candidate, other = asked(base, alias="candidate"), asked(base, alias="shadow")
    assert [case.plan["approvals"]["count"] for case in (candidate, other)] == [1, 2]
    assert base.approve(candidate, "dora") == 0 and base.carry(candidate).status == "complete"
    with base.workspace.database.read() as connection:
        assert aliases.aliases_of(connection, "assistant") == {"candidate": 2, "champion": 1}


def test_two_promotions_at_once_move_the_alias_once(base):
    first, second = asked(base), asked(base, "assistant@3")
    for case in (first, second):
        base.approve(case)
    assert base.carry(first).status == "complete"
    assert "stands for version 2, not where the plan of case" in failed(base, second)
    assert base.champion().version == 2
    again = deciding.replan(base.act("sven"), second.id)
    assert (again.status, again.plan["alias"]["from"]) == ("awaiting approval", 2)
    with pytest.raises(Waiting, match="lacks 2 approvals"):
        base.carry(again)
    base.approve(again)
    assert base.carry(again).status == "complete" and base.champion().version == 3


def test_a_promotion_that_cannot_be_meant_says_why(base):
    for reference, listed in (("assistant", "list assistant`"), ("assistant@", "list assistant`"), ("@2", "list`")):
        with pytest.raises(BadInput, match=f"'{reference}' names no version; write MODEL@VERSION, see .* {listed}$"):
            asked(base, reference)
    with pytest.raises(UnknownModel, match="there is no model 'assistant@99999999999999999999'; there are"):
        asked(base, "assistant@99999999999999999999")
    with pytest.raises(UnknownModel, match="there is no model 'nobody'; see `amends models list`"):
        open_rollback(base.act("sven"), "nobody", reason="worse")
    with pytest.raises(BadInput, match="'Shadow' cannot be an alias"):
        open_rollback(base.act("sven"), "assistant", reason="worse", alias="Shadow")
    with pytest.raises(BadInput, match="cannot be an alias"):
        asked(base, alias="v2")
    with pytest.raises(Denied, match="stands for version 1 already"):
        asked(base, "assistant@1")
    case = asked(base)
    assert deciding.cancel(base.act("sven"), case.id, "not wanted").status == "cancelled"


def test_a_rollback_is_a_promotion_to_where_the_alias_stood(base):
    with pytest.raises(BadInput, match="never stood for another version before; there is nothing to go back to"):
        open_rollback(base.act("sven"), "assistant", reason="worse")
    assert promoted(base).status == "complete"
    with pytest.raises(BadInput, match="never stood for version 3 before; it stood for 1"):
        open_rollback(base.act("sven"), "assistant", reason="worse", to=3)
    with pytest.raises(BadInput, match="needs its reason"):
        open_rollback(base.act("sven"), "assistant", reason=" ")
    case = open_rollback(base.act("sven"), "assistant", reason="worse")
    assert (case.plan["rollback"], case.plan["candidate"]["version"], case.status) == (True, 1, "awaiting approval")
    base.approve(case)
    assert base.carry(case).status == "complete"
    assert base.champion().version == in_mlflow(base).aliases["champion"] == 1
    assert [(move["from"], move["to"]) for move in alias_history(base.workspace, "assistant")] == [
        (None, 1), (1, 2), (2, 1),
    ]  # fmt: skip


def test_a_pipeline_that_waits_is_told_how_it_ended(base, run):
    own(base)
    done = run("sven", "promote", "assistant@2", "--to", "champion", "--wait", "--json")
    assert done.exit_code == 0 and json.loads(done.stdout)["status"] == "complete"
    own(base, rules="  - {id: never, severity: deny, expr: facts.objections == 7, message: Not today.}\n")
    done = run("sven", "promote", "assistant@3", "--to", "champion", "--wait", "--json")
    assert done.exit_code == 1 and "Not today. (objections 0)" in json.loads(done.stderr)["error"]
    case = json.loads(run("sven", "cases", "list", "--status", "failed", "--json").stdout)[0]["id"]
    why = json.loads(run("sven", "policy", "explain", case, "--json").stdout)
    assert why["explanation"][0] == f"Case {case} (promotion of assistant) is failed."
    assert any(
        line.startswith("It stopped in step 'promote': assistant@3 is not promoted") for line in why["explanation"]
    )
    assert "Denied by never: Not today. (objections 0)" in why["explanation"]
    assert base.champion().version == 2


def test_a_plan_that_is_made_anew_waits_for_as_many_people_as_the_policy_asks_for_by_then(base):
    own(base, rules="  - {id: never, severity: deny, expr: facts.objections == 7, message: Not today.}\n")
    with pytest.raises(TaskFailed, match=r"case (\S+) failed: assistant@2 is not promoted: Not today") as failure:
        asked(base)
    (base.home / "policies" / "promotion.yaml").unlink()
    again = deciding.replan(base.act("sven"), str(failure.value).split()[1])
    assert (again.status, again.reason) == ("awaiting approval", "")
    with pytest.raises(Waiting, match="lacks 2 approvals"):
        base.carry(again)
    base.approve(again)
    assert base.carry(again).status == "complete"


def test_the_command_line_waits_explains_and_shows_the_history(base, run):
    opened = run("sven", "promote", "assistant@2", "--to", "champion", "--reason", "better", "--json")
    assert opened.exit_code == 3, opened.stderr
    case = json.loads(opened.stdout)["id"]
    waited = run("sven", "promote", "assistant@2", "--to", "candidate", "--wait", "--timeout", "0.2")
    assert waited.exit_code == 3 and "moves assistant@candidate from nothing to version 2" in waited.stdout
    why = run("olga", "policy", "explain", case)
    assert why.exit_code == 0 and "2 more people must approve" in why.stdout
    refused = run("dora", "cases", "approve", case, given="n\n")
    assert refused.exit_code == 1 and "moves assistant@champion from version 1 to version 2" in refused.stderr
    assert run("dora", "cases", "approve", case, given="y\n").exit_code == 0
    assert run("max", "cases", "approve", case, "--yes").exit_code == 0
    shown = run("olga", "cases", "show", case)
    assert "moves assistant@champion from version 1 to version 2" in shown.stdout
    history = run("olga", "models", "history", "assistant")
    assert history.exit_code == 0 and "better" in history.stdout and case in history.stdout
    assert run("olga", "aliases", "check").exit_code == 0
    back = run("sven", "rollback", "assistant", "--reason", "worse", "--json")
    assert back.exit_code == 3 and json.loads(back.stdout)["plan"]["candidate"]["version"] == 1
