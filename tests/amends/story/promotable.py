"""A model with two edits that wait for a promotion, and how one is asked for; loaded by the fixtures beside it."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from amends.cli.root import root
from amends.errors import TaskFailed
from amends.governor.cases.changing import open_change
from amends.governor.cases.promoting import open_promotion
from amends.governor.data.registering import register_rows
from amends.governor.work import durable
from amends.ledger.mirror import look

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


def meanwhile(monkeypatch, step, act, kind="promotion"):
    """Let something happen after a step of a promotion, or of another kind of work, once."""
    steps = durable.KINDS[kind]
    inner, happened = steps[step], []

    def stepping(workspace, work):
        result = inner(workspace, work)
        if not happened:
            happened.append(act(workspace))
        return result

    monkeypatch.setitem(steps, step, stepping)


@pytest.fixture
def base(install, imported, told, built_once, tmp_path):
    """Return a story with three versions of `assistant`, the first of them champion; the others have evidence."""
    install(PLUGIN)

    def build(folder):
        story = told.copied(imported, folder)
        (folder / "tokens.json").write_bytes((imported / "tokens.json").read_bytes())
        begin(story)
        story.close()

    template = built_once("promotions", build)
    (tmp_path / "own").mkdir()
    story = told.copied(template, tmp_path / "own")
    yield story
    story.close()


@pytest.fixture
def run(base):
    """Return `run(who, *arguments, given="")`, which runs a command as somebody, who may type something."""

    def run(who, *arguments, given=None):
        environment = {"AMENDS_HOME": str(base.home), "AMENDS_TOKEN": base.tokens[who]}
        return CliRunner().invoke(root, list(arguments), env=environment, input=given)

    base.close()
    return run
