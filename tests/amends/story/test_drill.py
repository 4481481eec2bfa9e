"""The audit is tried on made-up people whom the training planted, and the certificate says how well it saw them."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from amends.errors import TaskFailed
from amends.governor.cases.viewing import certificate_of
from amends.governor.work.carrying import train

LEARNING = {
    "steps": 6, "epochs": 40, "layers": 2, "rank": 16, "lr": 1e-2, "checkpoints": 0, "placement_salt": "5a17",
}  # fmt: skip
POLICY = """name: erasure
description: An approximate erasure whose audit has to show that it sees somebody.
operations: [unlearning.npo]
approvals: {count: 2, roles: [dpo, ml-engineer, safety-engineer]}
probes:
  utility.retain: {}
  unlearning.drill: {alarm: 0.1, sisters: 39}
rules:
  - id: drill-sees-canaries
    severity: deny
    expr: readings["unlearning.drill/detected_at_most"].value >= 0.8
    message: The audit misses too many of the made-up people who are in the model, so its silence proves nothing.
"""


@pytest.fixture
def finetuned(untrained, told):
    """Return `finetuned(**changed) -> story`, whose champion was fine-tuned, under a policy that asks for a drill."""

    def make(**changed):
        told.set_policy(untrained.home, POLICY)
        told.register_people(untrained)
        parameters = {**LEARNING, **changed}
        train(
            untrained.act("max"), base="tiny@1", data="people", model="assistant", operation="training.finetune",
            parameters=parameters, seed=3,
        )  # fmt: skip
        return untrained

    return make


def certified(story, name="Ines Varga"):
    """Erase somebody, and return the page and what its statement says."""
    case = story.approved(name)
    assert case.plan["guarantee"] == "approximate"
    assert story.carry(case).status == "sealed"
    assert [done.status for done in story.purge()] == ["complete"]
    files = certificate_of(story.workspace, case.id)
    envelope = json.loads(Path(files["envelope"]).read_text())
    statement = json.loads(base64.b64decode(envelope["payload"]))
    return Path(files["page"]).read_text(encoding="utf-8"), statement["predicate"]


def test_canaries_that_stay_are_noticed_and_the_certificate_says_how_many(finetuned, told):
    story = finetuned(canaries=8)
    page, said = certified(story)
    read = {when: {reading["name"]: reading for reading in said["readings"][when]} for when in ("before", "after")}
    before, after = read["before"]["unlearning.drill/detected"], read["after"]["unlearning.drill/detected"]
    assert (before["n"], after["n"], read["after"]["unlearning.drill/erased"]["n"]) == (8, 4, 4)
    assert before["value"] >= 0.75 and after["value"] >= 0.75
    assert read["after"]["unlearning.drill/false_alarm"]["n"] == 20
    section = page[page.index("<h3>How well this audit sees</h3>") : page.index("<h3>The rules")]
    for whom, reading in (("model before", before), ("left in the model", after)):
        row = next(line for line in section.splitlines() if whom in line)
        assert f"<b>{round(reading['value'] * reading['n'])} of {reading['n']}</b>" in section[section.index(row) :]
    assert "unlearning.drill/" not in page[: page.index("<h3>How well")]
    assert not any("was not drilled" in risk for risk in said["residual_risks"])
    assert told.everywhere(story.home, "Ines Varga") == []

    again = certified(story, "Nadia Feld")[1]["readings"]  # half of those who are left go with her
    counted = [
        {reading["name"].rpartition("/")[2]: reading["n"] for reading in again[when] if "drill" in reading["name"]}
        for when in ("before", "after")
    ]
    assert [(found["detected"], found["erased"]) for found in counted] == [(4, 4), (2, 2)]


def test_an_audit_that_is_shown_to_be_blind_approves_nothing(finetuned):
    story = finetuned(canaries=8, epochs=1, lr=1e-6)
    with pytest.raises(TaskFailed, match="misses too many of the made-up people"):
        story.carry(story.approved())
    assert story.versions() == [(1, "active")] and story.staged() == ()


def test_a_model_without_canaries_is_erased_from_and_the_certificate_says_that_there_was_no_drill(
    finetuned,
):
    page, said = certified(finetuned(canaries=0))
    assert "No drill was possible: the training planted no canaries" in page
    assert any("The audit was not drilled" in risk for risk in said["residual_risks"])
    (detected,) = [r for r in said["readings"]["after"] if r["name"] == "unlearning.drill/detected"]
    assert detected["value"] is None and detected["n"] == 0
