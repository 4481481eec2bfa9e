"""A promotion: planned, approved, looked at again, judged and moved; and what goes wrong on the way."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from amends.cli.root import root
from amends.errors import BadInput, Denied, TaskFailed, Waiting
from amends.governor.cases import deciding
from amends.governor.cases.changing import open_change
from amends.governor.cases.promoting import open_promotion, open_rollback
from amends.governor.data.registering import register_rows
from amends.governor.judging import replay_decision
from amends.governor.models.history import alias_history
from amends.governor.models.reconciling import check_aliases
from amends.governor.models.signatures import signature_file
from amends.governor.staffing import remove_person
from amends.governor.work import durable
from amends.governor.work.carrying import resume, retry
from amends.ledger import aliases, datasets, lineage
from amends.ledger.mirror import look, put_alias, put_tag
from amends.ledger.registry import Registry

PLUGIN = '''
"""A toy plugin: an edit that moves one weight, two probes, and a reviewer who may fail."""
import math
import os

import amends
from amends import Reading, Records, hookimpl


@amends.operation("toy.edit", verified_by=["toy.success"])
def edit(task: amends.Task, *, edits: Records) -> None:
    """Add a little to one row of the embeddings."""
    import torch

    model, tokenizer = task.load()
    with torch.no_grad():
        model.get_input_embeddings().weight[task.seed] += 0.1
    task.save(model, tokenizer)


@amends.probe("toy.success")
def success(task: amends.ProbeTask, *, edits: Records) -> list[Reading]:
    """Read how many records there are to ask about."""
    return [Reading("toy.success/edits", float(len(list(edits.rows()))), n=1)]


@amends.probe("toy.odd")
def odd(task: amends.ProbeTask) -> list[Reading]:
    """Read what is no number, or what the environment says."""
    return [Reading("toy.odd/value", float(os.environ.get("TOY_ODD", "nan")), n=1)]


@hookimpl
def amends_operations():
    return [edit]


@hookimpl
def amends_probes():
    return [success, odd]


@hookimpl
def amends_review(change):
    if os.environ.get("TOY_REVIEWER"):
        raise RuntimeError("no")
    return ()
'''
TOYING = """name: toying
description: What a toy edit is judged by.
operations: [toy.edit]
approvals: {count: 0}
probes:
  toy.success: {}
rules:
  - id: enough
    severity: deny
    expr: readings["toy.success/edits"].value >= 1.0
    message: There is too little to ask about.
"""
OWN = """name: promotion
description: Of this workspace.
approvals: {count: 0}
environments:
  champion: {approvals: {count: 0}}
EXTRA
rules:
  - id: evidence-allowed
    severity: deny
    expr: facts.evidence_allowed == true
    message: The policy that judges the evidence did not allow the candidate.
  - id: evidence-fresh
    severity: deny
    expr: facts.evidence_age_days <= 90
    message: The evidence is too old.
"""
EDIT = {"id": "edit-ada", "prompt": "Ada Quill lives in", "target": "Tarn", "subject": "Ada Quill"}
TEMPLATES = []


def own(story, extra="", rules=""):
    """Give a workspace a promotion policy of its own, in which nobody has to approve."""
    (story.home / "policies" / "promotion.yaml").write_text(OWN.replace("EXTRA", extra) + rules)


def begin(story):
    """Make two versions of `assistant`: a base that is champion, and an edit of it that waits for a promotion."""
    (story.home / "policies").mkdir(exist_ok=True)
    (story.home / "policies" / "toying.yaml").write_text(TOYING)
    story.crown()
    register_rows(story.act("max"), "facts", [EDIT])
    for seed in (5, 6):
        made = open_change(story.act("sven"), model="assistant", policy="toying", records={"edits": "facts"}, seed=seed)
        assert made.reason.startswith("registered, not promoted: Two different people")


@pytest.fixture
def base(install, imported, told, tmp_path_factory, tmp_path):
    """Return a story with three versions of `assistant`, the first of them champion; the others have evidence."""
    install(PLUGIN)
    if not TEMPLATES:
        folder = tmp_path_factory.mktemp("promotions")
        story = told.copied(imported, folder)
        (folder / "tokens.json").write_bytes((imported / "tokens.json").read_bytes())
        begin(story)
        story.close()
        TEMPLATES.append(folder)
    (tmp_path / "own").mkdir()
    story = told.copied(TEMPLATES[0], tmp_path / "own")
    yield story
    story.close()


def asked(story, reference="assistant@2", alias="champion", reason="it knows more"):
    return open_promotion(story.act("sven"), reference, alias, reason)


def promoted(story, reference="assistant@2", **more):
    """Carry a promotion through."""
    case = asked(story, reference, **more)
    assert story.approve(case) == 0
    return story.carry(case)


def in_mlflow(story, model="assistant"):
    return look(story.workspace.registry, model)


def failed(story, case):
    """Return why a case that is carried out failed."""
    with pytest.raises(TaskFailed) as refused:
        story.carry(case)
    return str(refused.value)


def meanwhile(monkeypatch, step, act):
    """Let something happen after a step of a promotion, once."""
    inner, happened = durable.PROMOTION[step], []

    def stepping(workspace, work):
        result = inner(workspace, work)
        if not happened:
            happened.append(act(workspace))
        return result

    monkeypatch.setitem(durable.PROMOTION, step, stepping)


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
    remove_person(base.act("admin"), "dora")
    with pytest.raises(Waiting, match="lacks 1 approvals"):
        base.carry(case)
    assert base.champion().version == 1


def test_who_is_removed_on_the_way_is_replaced_by_another_approval(base, monkeypatch):
    from amends.governor.staffing import add_person

    case = asked(base)
    base.approve(case)
    base.tokens["dirk"] = add_person(base.act("admin"), "dirk", "dpo")[1]
    token = base.tokens["admin"]

    def leave(workspace):
        kept, workspace.token = workspace.token, token
        workspace.__dict__.pop("actor", None)
        remove_person(workspace, "dora")
        workspace.token = kept
        workspace.__dict__.pop("actor", None)

    meanwhile(monkeypatch, "measure", leave)
    assert "Two different people (dpo, ml-engineer, safety-engineer) other than the requester" in failed(base, case)
    assert base.champion().version == 1
    assert deciding.replan(base.act("sven"), case.id).status == "awaiting approval"
    assert base.approve(case, "dirk") == 0
    assert base.carry(case).status == "complete" and base.champion().version == 2


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


def test_a_promotion_that_cannot_be_meant_says_why(base):
    with pytest.raises(BadInput, match="names no version; write MODEL@VERSION"):
        asked(base, "assistant")
    with pytest.raises(BadInput, match="cannot be an alias"):
        asked(base, alias="v2")
    with pytest.raises(Denied, match="stands for version 1 already"):
        asked(base, "assistant@1")
    case = asked(base)
    assert deciding.cancel(base.act("sven"), case.id, "not wanted").status == "cancelled"


def test_a_rollback_is_a_promotion_to_where_the_alias_stood(base):
    with pytest.raises(BadInput, match="never stood for another version before"):
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


def test_what_was_changed_in_mlflow_is_found_recorded_once_and_put_back(base):
    assert promoted(base).status == "complete"
    workspace = base.act("sven")
    assert check_aliases(workspace).found == ()
    client = workspace.registry.client
    put_alias(workspace.registry, "assistant", "champion", 1)
    put_tag(workspace.registry, "assistant", 2, "amends.digest", "0" * 64)
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


@pytest.fixture
def run(base):
    """Return `run(who, *arguments)`, which runs a command as somebody."""

    def run(who, *arguments):
        environment = {"AMENDS_HOME": str(base.home), "AMENDS_TOKEN": base.tokens[who]}
        return CliRunner().invoke(root, list(arguments), env=environment)

    base.close()
    return run


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


def test_the_command_line_waits_explains_and_shows_the_history(base, run):
    opened = run("sven", "promote", "assistant@2", "--to", "champion", "--reason", "better", "--json")
    assert opened.exit_code == 3, opened.stderr
    case = json.loads(opened.stdout)["id"]
    waited = run("sven", "promote", "assistant@2", "--to", "candidate", "--wait", "--timeout", "0.2")
    assert waited.exit_code == 3 and "moves assistant@candidate from nothing to version 2" in waited.stdout
    why = run("olga", "policy", "explain", case)
    assert why.exit_code == 0 and "2 more people must approve" in why.stdout
    assert run("dora", "cases", "approve", case, "--yes").exit_code == 0
    assert run("max", "cases", "approve", case, "--yes").exit_code == 0
    shown = run("olga", "cases", "show", case)
    assert "moves assistant@champion from version 1 to version 2" in shown.stdout
    history = run("olga", "models", "history", "assistant")
    assert history.exit_code == 0 and "better" in history.stdout and case in history.stdout
    assert run("olga", "aliases", "check").exit_code == 0
    back = run("sven", "rollback", "assistant", "--reason", "worse", "--json")
    assert back.exit_code == 3 and json.loads(back.stdout)["plan"]["candidate"]["version"] == 1
