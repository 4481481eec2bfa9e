"""A model that was fine-tuned as a whole: a person is taken out of it by a case, exactly."""

from __future__ import annotations

from pathlib import Path

import pytest

from amends.governor.cases.viewing import certificate_of
from amends.governor.models.recipes import read_recipe
from amends.governor.proof.certificates import verify_certificate
from amends.governor.work.carrying import train
from amends.ledger import lineage

TINY = {
    "steps": 6, "epochs": 2, "layers": 1, "rank": 2, "lr": 1e-2, "checkpoints": 2, "placement_salt": "5a17",
    "canaries": 2,
}  # fmt: skip


def finetuned(story):
    """Fine-tune the tiny base on the people that are registered, as the first version of `assistant`."""
    train(
        story.act("max"), base="tiny@1", data="people", model="assistant", operation="training.finetune",
        parameters=TINY, seed=3,
    )  # fmt: skip
    return story


@pytest.fixture
def policy(told):
    """Return the light erasure policy by the name of the operation that shall erase."""
    return lambda operation: told.LIGHT.replace("unlearning.shards", operation)


@pytest.fixture
def story(untrained, told):
    told.register_people(untrained)
    return finetuned(untrained)


def test_a_case_replays_a_fine_tune_and_certifies_it_as_exact(story, told, policy):
    told.set_policy(story.home, policy("unlearning.replay"))
    case = story.approved()
    assert (case.plan["operation"], case.plan["guarantee"]) == ("unlearning.replay", "exact")
    assert story.carry(case).status == "sealed"
    steps = story.steps(case.id)
    assert steps["rebuild"]["digest"] == steps["counterfactual"]["digest"] == story.champion().digest
    assert steps["rebuild"]["state"].keys() == {"finetune/log", "finetune/after-000002", "finetune/after-000004"}
    recipe = read_recipe(story.workspace, story.champion().digest)
    assert [step["operation"] for step in recipe["steps"]] == ["training.finetune"]
    assert [done.status for done in story.purge()] == ["complete"]
    assert story.versions() == [(1, "purged"), (2, "active")]
    files = certificate_of(story.workspace, case.id)
    said = verify_certificate(Path(files["envelope"]), story.workspace.keyring.public_keys())
    assert said["title"] == "Certificate of erasure"
    assert told.everywhere(story.home, "Ines Varga") == [] != told.everywhere(story.home, "Marek Sund")

    again = story.approved("Nadia Feld")  # out of what was rebuilt, whose own predecessor is gone
    assert story.carry(again).status == "sealed"
    assert story.versions()[-1] == (3, "active")
    with story.workspace.database.read() as connection:
        assert lineage.get(connection, "assistant", 3).guarantee == "exact"


def test_on_another_stack_it_is_exact_by_data_flow_and_no_more(story, told, policy, monkeypatch):
    text = policy("unlearning.retrain")
    told.set_policy(story.home, text.replace("    expr: facts", "    when: [exact]\n    expr: facts"))
    case = story.approved()
    assert case.plan["operation"] == "unlearning.retrain"
    monkeypatch.setattr("amends.scheduler.fingerprint._version", lambda name: "another")
    assert story.carry(case).status == "sealed"
    assert story.steps(case.id)["compare"]["guarantee"] == "exact by data flow"
    with story.workspace.database.read() as connection:
        assert lineage.get(connection, "assistant", 2).guarantee == "exact by data flow"
