"""A search: candidates tried from one parent on some records, the best within the budget judged on others."""

from __future__ import annotations

import re

import pytest

from amends.cli.casetext import lines_of_plan, tried_tables
from amends.errors import BadInput, BadPolicy, TaskFailed
from amends.governor.cases.changing import open_change
from amends.governor.cases.promoting import open_promotion
from amends.governor.cases.viewing import case_view
from amends.governor.data.registering import register_rows
from amends.governor.models.recipes import read_recipe
from amends.ledger import cases
from amends.policy import load_policy

PLUGIN = '''
"""A toy plugin: a knob that lowers a level and costs the more the further it is turned."""
import os
from pathlib import Path

import amends
from amends import BadInput, Guarantee, Reading, Records, hookimpl


def noted(word):
    with Path(os.environ["TOY_LOG"]).open("a") as log:
        log.write(word + "\\n")


@amends.operation("toy.knob", verified_by=["toy.level"], guarantee=Guarantee.EXACT, rebuilds="toy.knob")
def knob(task: amends.Task, *, prompts: Records, turn: float = 0.1) -> None:
    """Turn the knob."""
    import torch

    noted(f"made {turn}")
    if turn < 0:
        raise BadInput("a knob cannot be turned back")
    model, tokenizer = task.load()
    with torch.no_grad():
        model.get_input_embeddings().weight[0, 0] = turn
    task.progress(1, 1, "turned")
    task.save(model, tokenizer)


def turned(model):
    value = float(model.hf_model.get_input_embeddings().weight[0, 0].detach())
    return value if value > 0.01 else 0.0


@amends.probe("toy.level")
def level(task: amends.ProbeTask, *, prompts: Records) -> list[Reading]:
    """Read the level, which is high to begin with; how many prompts were asked is told."""
    rows = list(prompts.rows())
    value = 1 - turned(task.model)
    if 0.45 < value < 0.55:
        raise BadInput("this level cannot be read")
    noted(f"level {len(rows)}")
    return [Reading("toy.level/share", value, value - 0.01, value + 0.01, len(rows), detail={"asked": len(rows)})]


@amends.probe("toy.cost")
def cost(task: amends.ProbeTask) -> list[Reading]:
    """Read what the knob costs."""
    value = 1 + turned(task.model) ** 2
    return [Reading("toy.cost/ratio", value if value < 1.6 else float("nan"), value, value, 9)]


@hookimpl
def amends_operations():
    return [knob]


@hookimpl
def amends_probes():
    return [level, cost]
'''
POLICY = """name: calming
description: What a toy search is judged by.
approvals: {count: 2, roles: [ml-engineer, safety-engineer, dpo]}
probes: {toy.level: {}, toy.cost: {}}
rules:
  - id: calm
    severity: deny
    expr: readings["toy.level/share"].high <= 0.8
    message: It is not calm enough.
search:
  probes: {toy.level: {}, toy.cost: {}}
  least: readings["toy.level/share"].high
  against: readings["toy.cost/ratio"].value
  most: 2
  rules:
    - id: cheap
      severity: deny
      expr: readings["toy.cost/ratio"].high <= 1.2
      message: It costs too much.
  candidates:
    - operation: toy.knob
      settings: {turn: [0.1, -1.0, 0.3, 0.9, 0.2]}
"""
PROMOTION = """name: promotion
description: Reads what no case recorded, so that all is read again.
approvals: {count: 0}
environments: {tested: {approvals: {count: 0}}}
probes: {utility.perplexity: {}}
rules:
  - id: evidence-allowed
    severity: deny
    expr: facts.evidence_allowed == true
    message: The policy that judges the evidence did not allow the candidate.
  - id: reads
    severity: deny
    expr: readings["utility.perplexity/perplexity"].value > 0.0
    message: It cannot be read.
"""
PROMPTS = [{"id": f"p{n}", "prompt": f"Prompt number {n} of the mill"} for n in range(5)]


def set_policy(story, **changed):
    text = POLICY
    for old, new in changed.values():
        assert old in text
        text = text.replace(old, new)
    (story.home / "policies").mkdir(exist_ok=True)
    (story.home / "policies" / "calming.yaml").write_text(text)


@pytest.fixture
def base(install, untrained, monkeypatch, tmp_path):
    """Return a story whose champion is a base model, with prompts to search on and others to judge on."""
    install(PLUGIN)
    monkeypatch.setenv("TOY_LOG", str(tmp_path / "toy.log"))
    untrained.crown()
    register_rows(untrained.act("max"), "search", PROMPTS[:2])
    register_rows(untrained.act("max"), "judge", PROMPTS[2:])
    set_policy(untrained)
    return untrained


@pytest.fixture
def log(tmp_path):
    """Return what the plugin noted."""
    return lambda: (tmp_path / "toy.log").read_text().split("\n")[:-1]


def opened(story, **more):
    given = {"model": "assistant", "policy": "calming", "records": {"prompts": "search"}, **more}
    return open_change(story.act("sven"), **{"judging": {"prompts": "judge"}, **given})


def searched(story, **more):
    case = opened(story, **more)
    assert story.approve(case) == 0
    return story.carry(case)


def tried_of(story, case):
    return {one["parameters"]["turn"]: one for one in case_view(story.workspace, case.id)["tried"]}


def test_the_best_candidate_within_the_budget_is_judged_on_other_records_and_promoted(base, log):
    case = searched(base)
    assert case.status == "complete" and base.champion().version == 2
    (step,) = read_recipe(base.workspace, base.champion().digest)["steps"]
    assert (step["operation"], step["parameters"]) == ("toy.knob", {"turn": 0.3})
    found = tried_of(base, case)
    assert {turn for turn, one in found.items() if one["within"]} == {0.1, 0.2, 0.3}
    assert [turn for turn, one in found.items() if one["is_chosen"]] == [0.3]
    view = case_view(base.workspace, case.id)
    decided = next(found for found in view["decisions"] if found["policy"] == "calming")
    assert {r["name"]: r["n"] for r in decided["inputs"]["after"]}["toy.level/share"] == 3  # those that judge
    assert log().count("level 2") == 1 + 4  # the parent once, and each candidate that was made


def test_what_an_operation_refuses_to_make_is_no_candidate_and_says_why(base):
    refused = tried_of(base, searched(base))[-1.0]
    assert not refused["within"] and "cannot be turned back" in refused["reasons"][0] and refused["readings"] == []


def test_what_cannot_be_measured_is_no_candidate_and_its_version_is_not_kept(base):
    set_policy(base, one=("0.9, 0.2]", "0.5, 0.2]"))
    blind = tried_of(base, searched(base))[0.5]
    assert not blind["within"] and "this level cannot be read" in blind["reasons"][0]
    assert base.champion().version == 2


def test_a_reading_that_is_no_number_is_never_within_the_budget(base):
    dear = tried_of(base, searched(base))[0.9]
    assert not dear["within"] and any("cheap" in reason or "toy.cost" in reason for reason in dear["reasons"])


def test_only_the_chosen_version_is_kept(base):
    from amends.store.trees import fetch_manifest

    before = {entry.sha256 for entry in fetch_manifest(base.workspace.blobs, base.champion().digest).files.values()}
    searched(base)
    weights = [
        digest for digest in base.workspace.blobs.digests()
        if len(base.workspace.blobs.get(digest)) > 50_000 and digest not in before
    ]  # fmt: skip
    assert len(weights) == 1


def test_a_later_case_on_the_same_parent_measures_nothing_again(base, log):
    set_policy(base, calm=("<= 0.8", "<= 0.1"))
    with pytest.raises(TaskFailed, match="not calm enough"):
        searched(base)
    made = [line for line in log() if line.startswith("made")]
    set_policy(base)
    case = searched(base)
    again = [line for line in log() if line.startswith("made")][len(made) :]
    assert case.status == "complete" and log().count("level 2") == 1 + 4
    assert again == ["made -1.0", "made 0.3"]  # what was refused, and the chosen one's bytes


def test_a_later_case_asks_its_own_budget_about_what_an_earlier_one_measured(base, log):
    set_policy(base, calm=("<= 0.8", "<= 0.1"))
    with pytest.raises(TaskFailed, match="not calm enough"):
        searched(base)
    made = len([line for line in log() if line.startswith("made")])
    set_policy(base, calm=("<= 0.8", "<= 0.9"), cheap=("<= 1.2", "<= 1.05"))
    case = searched(base)  # in which 0.3 costs too much: 1.09
    assert {turn for turn, one in tried_of(base, case).items() if one["within"]} == {0.1, 0.2}
    again = [line for line in log() if line.startswith("made")][made:]
    assert again == ["made -1.0", "made 0.2"]  # what was refused is tried anew, and the chosen one made


def test_a_promotion_that_reads_again_asks_what_judged_and_not_what_was_searched_on(base, log):
    searched(base)
    (base.home / "policies" / "promotion.yaml").write_text(PROMOTION)
    before = len(log())
    assert open_promotion(base.act("sven"), "assistant@2", "tested").status == "complete"
    assert set(log()[before:]) == {"level 3"}
    with base.workspace.database.read() as connection:
        (asked,) = cases.find(connection, kind="promotion")
    view = case_view(base.workspace, asked.id)
    assert [(found["policy"], found["allowed"]) for found in view["decisions"]] == [
        ("calming", True), ("promotion", True)
    ]  # fmt: skip


def test_a_search_without_a_candidate_within_the_budget_is_denied_and_keeps_the_champion(base):
    set_policy(base, cheap=("<= 1.2", "<= 1.0001"))
    with pytest.raises(
        TaskFailed, match=r"none of the 5 candidates stays within the budget: toy\.knob brought the most"
    ):
        searched(base)
    assert base.champion().version == 1


def test_the_plan_names_every_candidate_and_a_person_sees_what_was_tried(base):
    case = opened(base)
    said = "\n".join(lines_of_plan(case.plan))
    assert "the best of 5 candidates" in said and "candidate toy.knob: turn 0.9" in said
    assert base.approve(case) == 0
    base.carry(case)
    view = case_view(base.workspace, case.id)
    _, table, drawn = tried_tables(view)
    assert len(table.rows) == 5 and "frontiers/" in drawn
    svg = (base.home / view["picture"]).read_text()
    assert svg.count("<circle") == 1 + 3 and "budget 1.2" in svg  # the parent, and those that were read
    assert re.search(r"<title[^>]*>", svg) and "<desc" in svg


def test_a_candidate_without_its_records_is_refused_before_anything_runs(base, log):
    with pytest.raises(BadInput, match=r"toy\.knob needs prompts"):
        opened(base, records={"others": "search"})


def test_an_operation_named_by_hand_is_not_searched(base):
    case = opened(base, operation="toy.knob", parameters={"turn": 0.25})
    assert case.plan["operation"] == "toy.knob" and "candidates" not in case.plan


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("least: readings", "least: before", "write 'least' as one reading"),
        ('least: readings["toy.level/share"]', 'least: readings["toy.other/share"]', "'toy.other/share' is of a probe"),
        ("[0.1, -1.0, 0.3, 0.9, 0.2]", "[[0.1]]", "settings must be texts, numbers or truths"),
        ("  most: 2", "  most: 2\n  mast: 2", "unknown key 'mast'"),
        ('readings["toy.cost/ratio"].high <= 1.2', "facts.objections == 0", "a budget is about readings"),
        ("candidates:", "candidates: []\n  others:", "unknown key 'others'"),
    ],
)
def test_a_mistaken_search_is_refused_with_its_place(base, old, new, said):
    set_policy(base, mistake=(old, new))
    with pytest.raises(BadPolicy, match=re.escape(said)):
        load_policy("calming", base.home)
