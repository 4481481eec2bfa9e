"""A model that was not trained in shards: unlearnt as well as can be, and recorded as that and no more."""

from __future__ import annotations

from pathlib import Path

import pytest
from story_promotable import meanwhile

from amends.cli.casetext import plan_lines
from amends.errors import BadInput, Denied, TaskFailed
from amends.governor.cases.reporting import report_case
from amends.governor.cases.viewing import certificate_of
from amends.governor.models.recipes import read_recipe
from amends.governor.proof.certificates import verify_certificate
from amends.governor.work.carrying import train
from amends.ledger import cases, lineage

PLUGIN = '''
"""A toy plugin: plain training of every weight, as most models were made."""
import amends
from amends import ProbeTask, Reading, Records, Task, hookimpl


@amends.operation("toy.plain", verified_by=["utility.perplexity"])
def plain(task: Task, *, records: Records, epochs: int = 2) -> None:
    """Train every weight on the records' answers."""
    import torch
    from amends.serving.encoding import encode

    model, tokenizer = task.load()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05)
    for row in list(records.rows()) * epochs:
        prompt, answer = encode(tokenizer, row["prompt"], row["answer"])
        model(input_ids=torch.tensor([prompt + answer]), labels=torch.tensor([prompt + answer])).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    task.save(model, tokenizer)


@amends.operation("toy.unfit", verified_by=["utility.perplexity"], guarantee="approximate")
def unfit(task: Task, *, forget: Records, retain: Records) -> None:
    """Refuse."""
    raise amends.BadInput("this model is of another kind; take another operation")


def reading_once(loads, *, depth):
    return loads["forget"].tokens


@amends.operation("toy.idle", verified_by=["utility.perplexity"], guarantee="approximate", effort=reading_once)
def idle(task: Task, *, forget: Records, retain: Records) -> None:
    """Change nothing."""
    task.keep_weights()


@amends.operation("toy.still", verified_by=["utility.perplexity"], guarantee="approximate")
def still(task: Task, *, forget: Records, retain: Records) -> None:
    """Change nothing, either."""
    task.keep_weights()


@amends.probe("toy.raising")
def raising(task: ProbeTask, *, forget: Records) -> list[Reading]:
    """Fail on what it reads."""
    raise ValueError(next(iter(forget.rows()))["answer"])


@hookimpl
def amends_operations():
    return [plain, unfit, idle, still]


@hookimpl
def amends_probes():
    return [raising]
'''
POLICY = """name: erasure
description: What a model gets that was not trained in shards, without the rules on power that a tiny case cannot meet.
operations: [unlearning.shards, unlearning.npo]
approvals: {count: 2, roles: [dpo, ml-engineer, safety-engineer]}
probes:
  memorisation.extraction: {}
  utility.retain: {}
rules:
  - id: less-likely
    severity: deny
    expr: readings["memorisation.extraction/probability"].value <= BOUND
    message: The erased answers are as likely as before.
"""


@pytest.fixture
def plainly(untrained, told, install):
    """Return a story whose champion was trained by a third party's operation, on everybody."""
    install(PLUGIN)
    told.register_people(untrained)
    train(untrained.act("max"), base="tiny@1", data="people", model="assistant", operation="toy.plain", seed=3)
    return untrained


def test_an_approximate_erasure_is_recorded_as_measures_taken_and_leaves_no_string(plainly, told):
    told.set_policy(plainly.home, POLICY.replace("BOUND", 'before["memorisation.extraction/probability"].value'))
    case = plainly.approved()
    assert (case.plan["operation"], case.plan["guarantee"]) == ("unlearning.npo", "approximate")
    assert told.everywhere(plainly.home, "Ines Varga")
    assert plainly.carry(case).status == "sealed"
    sealed = report_case(plainly.act("dora"), case.id).page
    assert "What it replaced is not deleted yet: nothing is certified." in sealed and "after: assistant@2" in sealed
    steps = plainly.steps(case.id)
    assert steps["counterfactual"]["digest"] is None and steps["compare"]["guarantee"] == "approximate"
    recipe = read_recipe(plainly.workspace, plainly.champion().digest)
    assert [step["operation"] for step in recipe["steps"]] == ["toy.plain", "unlearning.npo"]
    assert "forget" not in recipe["steps"][1]["records"]
    assert [done.status for done in plainly.purge()] == ["complete"]
    assert plainly.versions() == [(1, "purged"), (2, "active")]
    with plainly.workspace.database.read() as connection:
        assert lineage.get(connection, "assistant", 2).guarantee == "approximate"
    files = certificate_of(plainly.workspace, case.id)
    said = verify_certificate(Path(files["envelope"]), plainly.workspace.keyring.public_keys())
    assert said["title"] == "Record of measures taken"
    page = Path(files["page"]).read_text(encoding="utf-8")
    assert "Record of measures taken" in page and "Certificate of erasure" not in page
    assert "assistant@2 comes from tiny@1 by toy.plain, then unlearning.npo." in page and "approximate" in page
    report = report_case(plainly.act("dora"), case.id)
    assert (report.page, report.is_signed) == (page, True)
    assert told.everywhere(plainly.home, "Ines Varga") == [] != told.everywhere(plainly.home, "Marek Sund")


def test_where_readings_decide_against_it_nothing_is_promoted(plainly, told):
    told.set_policy(plainly.home, POLICY.replace("BOUND", "0.0"))
    with pytest.raises(TaskFailed, match="The erased answers are as likely as before"):
        plainly.carry(plainly.approved())
    assert plainly.versions() == [(1, "active")] and plainly.staged() == ()


def test_a_probe_that_fails_ends_the_case_without_a_promotion_and_without_what_it_read(plainly, told):
    policy = POLICY.replace("BOUND", "1.0").replace("unlearning.npo", "toy.idle")
    told.set_policy(plainly.home, policy.replace("probes:\n", "probes:\n  toy.raising: {}\n"))
    case = plainly.approved()
    with pytest.raises(TaskFailed) as failed:
        plainly.carry(case)
    assert "toy.raising" in str(failed.value) and "Varga" not in str(failed.value)
    assert plainly.versions() == [(1, "active")] and not plainly.decisions(case.id)


LADDER = POLICY.replace(
    "[unlearning.shards, unlearning.npo]",
    "[unlearning.shards, toy.unfit, toy.idle, unlearning.npo]\nthroughput: utility.throughput\n"
    "audit: {unlearning.equivalence: {}}",
)


def test_the_next_operation_is_tried_where_one_refuses_or_the_policy_denies_what_it_made(plainly, told):
    told.set_policy(
        plainly.home, LADDER.replace("BOUND", '0.999 * before["memorisation.extraction/probability"].value')
    )
    case = plainly.approved()
    assert [rung["operation"] for rung in case.plan["ladder"]] == ["toy.unfit", "toy.idle", "unlearning.npo"]
    assert case.plan["ladder"][0]["seconds"] is None and 0 < case.plan["ladder"][1]["seconds"] < 60
    assert case.plan["estimate"]["training_seconds"] is None
    assert any("cost: what is said of each method on" in line for line in plan_lines(case.plan))
    assert plainly.carry(case).status == "sealed"
    steps = plainly.steps(case.id)
    unfit, idle = steps["tried:0"], steps["tried:1"]
    assert (unfit["operation"], unfit["after"]) == ("toy.unfit", []) and "another kind" in unfit["reason"]
    assert idle["operation"] == "toy.idle" and "as likely as before" in idle["reason"]
    read = {reading["name"]: reading["value"] for reading in idle["after"]}
    assert read["memorisation.extraction/probability"] == pytest.approx(
        next(r["value"] for r in idle["before"] if r["name"] == "memorisation.extraction/probability")
    )
    assert read_recipe(plainly.workspace, plainly.champion().digest)["steps"][-1]["operation"] == "unlearning.npo"
    decisions = plainly.decisions(case.id)
    assert [decision.verdict.allowed for decision in decisions if decision.policy == "erasure"] == [False, True]
    assert plainly.staged() == ()
    assert [done.status for done in plainly.purge()] == ["complete"]
    page = Path(certificate_of(plainly.workspace, case.id)["page"]).read_text(encoding="utf-8")
    assert "What was tried before, and was not enough" in page and "<code>toy.idle</code>" in page
    assert "memorisation.extraction/probability" in page[page.index('id="tried-2"') :]


def test_no_other_operation_is_tried_where_only_an_approval_does_not_count_any_more(plainly, told, monkeypatch):
    told.set_policy(plainly.home, LADDER.replace("BOUND", "1.0"))
    case = plainly.approved()
    meanwhile(monkeypatch, "measure", lambda workspace: plainly.dismiss("dora"), kind="erasure")
    with pytest.raises(TaskFailed, match="the erasure policy denies: 2 different people"):
        plainly.carry(case)
    assert [name for name in plainly.steps(case.id) if name.startswith("tried")] == ["tried:0"]  # which refused


def test_where_no_operation_is_good_enough_the_case_fails_and_says_what_was_tried(plainly, told):
    told.set_policy(plainly.home, LADDER.replace("BOUND", "0.0"))
    case = plainly.approved()
    with pytest.raises(TaskFailed, match=r"as likely as before.*tried before: toy\.unfit, toy\.idle"):
        plainly.carry(case)
    assert plainly.versions() == [(1, "active")] and plainly.staged() == ()
    steps = plainly.steps(case.id)
    assert [name for name in steps if name.startswith("tried")] == ["tried:0", "tried:1"]
    audited = [r for r in steps["tried:1"]["after"] if r["name"].startswith("unlearning.equivalence/")]
    assert {(r["detail"]["rungs"], r["detail"]["half"]) for r in audited} == {(3, "audit")}  # any of three may pass


AUDITED = LADDER.replace("[unlearning.shards, toy.unfit, toy.idle, unlearning.npo]", "[toy.unfit, toy.idle, toy.still]")
AUDITED = AUDITED.replace("audit: {unlearning.equivalence: {}}\n", "")
AUDITED = AUDITED.replace(
    "rules:\n",
    """audit:
  unlearning.equivalence: {margin: 0.1, half: all}
  unlearning.attack-paraphrase: {margin: 0.1, half: all, most: 8}
rules:
  - id: withstands
    when: [approximate]
    severity: deny
    expr: readings["unlearning.attack-paraphrase/difference"].high <= 0.1
    message: Asked in other words, it may tell more of the forgotten.
""",
)


def test_a_case_that_the_policy_denied_after_every_rung_has_a_report_that_says_why(plainly, told):
    told.set_policy(plainly.home, AUDITED.replace("BOUND", "0.0"))
    case = plainly.approved()
    with pytest.raises(TaskFailed, match=r"tried before: toy\.unfit, toy\.idle"):
        plainly.carry(case)
    report = report_case(plainly.act("dora"), case.id, ("amends cases retry",))
    page = report.page
    assert not report.is_signed and page.index("no certificate") < page.index("<h1>")
    assert "Not granted: nothing that was tried meets the policy. The model in service was not changed." in page
    found = page[page.index("What was found") : page.index("On what evidence")]
    assert "The erased answers are as likely as before." in found and "Asked in other words" in found
    assert "3 methods were tried: toy.unfit, toy.idle, toy.still." in page
    assert "this model is of another kind" in page and 'id="tried-2"' in page
    idle = page[page.index('id="tried-2"') :]
    assert "unlearning.attack-paraphrase/difference" in idle and "unlearning.equivalence/probability" in idle
    assert 'id="forest-title"' in page and 'id="levels-title"' in page and 'id="lineage-title"' in page
    assert "Any of 3 methods could have passed" in page and "There is no gold model here" in page
    assert "assistant@1 comes from tiny@1 by toy.plain." in page
    assert "amends cases retry" in page and f"amends cases deny {case.id}" in page and "has to be told by" in page
    assert f"amends policy replay {case.id}-erasure-" in page
    assert "Varga" not in page and "Ines" not in page


def test_a_case_that_still_waits_has_a_report_and_only_those_who_answer_or_audit_read_it(plainly, told):
    told.set_policy(plainly.home, POLICY.replace("BOUND", "0.0"))
    case = plainly.review(plainly.request())
    page = report_case(plainly.act("olga"), case.id, ("two people must approve",)).page
    assert "Nothing is decided yet. The model was not changed." in page and "two people must approve" in page
    assert "Does it hold?" not in page and "Varga" not in page
    with pytest.raises(Denied, match="max is ml-engineer; this needs requester"):
        report_case(plainly.act("max"), case.id)


def test_only_an_erasure_has_a_report(plainly):
    with plainly.workspace.database.read() as connection:
        [training] = cases.find(connection, kind="training")
    with pytest.raises(BadInput, match=f"see amends cases show {training.id}"):
        report_case(plainly.act("dora"), training.id)
