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


def test_a_plan_foresees_that_repeating_a_training_takes_as_long_as_it_took(story, told, policy):
    from amends.cli.casetext import plan_lines

    told.set_policy(story.home, policy("unlearning.replay"))
    with story.workspace.database.read() as connection:
        trained = lineage.get(connection, "assistant", 1)
    seconds = story.steps(trained.case_id)["train"]["seconds"]
    for name in ("Ines Varga", "Nadia Feld"):  # the second out of a version that no training made
        case = story.approved(name)
        [rung] = case.plan["ladder"]
        assert rung["seconds"] == pytest.approx(seconds, rel=0.1)  # two digits
        assert case.plan["estimate"]["training_seconds"] == pytest.approx(2 * seconds, abs=0.06)
        said = "\n".join(plan_lines(case.plan))
        assert f"guarantee exact, about {rung['seconds']:g} s" in said and "s of training on 1 cpus" in said
        story.carry(case)


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
