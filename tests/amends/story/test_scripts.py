"""A model that a plain Trainer made outside of the workspace: taken over with its log, a case replays it exactly."""

from __future__ import annotations

import hashlib
import json

import pytest
from safetensors.torch import load_file

from amends.cli.casetext import plan_lines
from amends.errors import TaskFailed
from amends.governor.data.registering import register
from amends.governor.models.recipes import read_recipe
from amends.governor.work.carrying import train
from amends.ledger import lineage

GIVEN = {"steps": 5, "epochs": 2, "lr": 1e-3, "checkpoints": 3, "placement_salt": "5a17"}


@pytest.fixture
def outside(untrained, tmp_path):
    """Return the directories of the model and of the recording that somebody's own run has left."""
    from transformers import TrainingArguments

    from amends_unlearning import TrainingRecorder, keyed_ids, plain_trainer

    rows = [json.loads(line) for line in untrained.file.read_text().splitlines()]
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "run"), num_train_epochs=2, learning_rate=1e-3, seed=3, use_cpu=True, report_to=[],
        save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    with untrained.workspace.database.read() as connection:
        base = untrained.workspace.cache.tree(lineage.get(connection, "tiny", 1).digest)
    trainer = plain_trainer(base / "model", rows, arguments)
    recorder = TrainingRecorder(tmp_path / "recording", keyed_ids("5a17", rows), salt="5a17", steps=5, checkpoints=3)
    recorder.attach(trainer).train()
    trainer.save_model(tmp_path / "made")
    return tmp_path / "made", tmp_path / "recording"


def take_over(story, recording, **changed):
    return train(
        story.act("max"), base="tiny@1", data="people", model="assistant", operation="training.trainer",
        parameters={**GIVEN, **changed}, seed=3, state=recording,
    )  # fmt: skip


def registered(story):
    register(story.act("olga"), "people", story.file, identifier_fields=("name", "email", "phone"), controls=0.0)


def weights(directory):
    found = load_file(directory / "model.safetensors")
    return {name: hashlib.sha256(tensor.numpy().tobytes()).hexdigest() for name, tensor in found.items()}


def test_a_case_replays_what_a_plain_trainer_made_elsewhere(untrained, told, outside):
    made, recording = outside
    registered(untrained)
    _, steps = take_over(untrained, recording)
    tree = untrained.workspace.cache.tree(untrained.champion().digest)
    assert weights(tree / "model") == weights(made)
    kept = {file.name for file in recording.iterdir()} - {"checkpoint"}
    assert {name.removeprefix("trainer/") for name in steps["train"]["state"]} == kept
    dropped = set(steps["brought"]["state"].values()) - set(steps["train"]["state"].values())
    assert dropped and not any(untrained.workspace.blobs.has(blob) for blob in dropped)

    told.set_policy(untrained.home, told.LIGHT.replace("unlearning.shards", "unlearning.replay-trainer"))
    case = untrained.approved()
    assert (case.plan["operation"], case.plan["guarantee"]) == ("unlearning.replay-trainer", "exact")
    assert case.plan["ladder"][0]["seconds"] is None  # it took its time elsewhere
    assert any("a time that is not known yet" in line for line in plan_lines(case.plan))
    assert untrained.carry(case).status == "sealed"
    steps = untrained.steps(case.id)
    assert steps["rebuild"]["digest"] == steps["counterfactual"]["digest"] == untrained.champion().digest
    recipe = read_recipe(untrained.workspace, untrained.champion().digest)
    assert [step["operation"] for step in recipe["steps"]] == ["training.trainer"]
    assert [done.status for done in untrained.purge()] == ["complete"]


def test_neither_another_recording_nor_checkpoints_of_another_training_pass(untrained, told, outside):
    from amends_unlearning.points import Point, read_point

    registered(untrained)
    with pytest.raises(TaskFailed, match="of another training"):
        take_over(untrained, outside[1], lr=2e-3)
    assert untrained.versions() == []
    recording = outside[1]
    for file in recording.glob("after-*"):
        point = read_point(file.read_bytes())
        tensors = {name: tensor + 1 if name.startswith("weight/") else tensor for name, tensor in point.tensors.items()}
        file.write_bytes(Point(point.position, point.chain, tensors, point.more).to_bytes())
    take_over(untrained, recording)
    told.set_policy(untrained.home, told.LIGHT.replace("unlearning.shards", "unlearning.replay-trainer"))
    with pytest.raises(TaskFailed, match="differs from one that never had the records"):
        untrained.carry(untrained.approved("Nadia Feld"))
    assert untrained.versions() == [(1, "active")]
