"""Erasing at one step replays the later ones: the served version equals one that never had the person."""

from __future__ import annotations

import pytest

from amends.errors import TaskFailed
from amends.governor.models.asking import ask
from amends.governor.models.recipes import read_recipe
from amends.governor.work.carrying import train
from amends.ledger import datasets, inventory, lineage

PLUGIN = '''
"""A toy plugin: an edit that appends a motto which depends on the records."""
import json
from contextlib import nullcontext
from types import SimpleNamespace

import amends
from amends import Records, Task, hookimpl


@amends.operation("toy.motto", verified_by=["utility.perplexity"], accepts=["shards"])
def motto(task: Task, *, records: Records, word: str = "so") -> None:
    """Append a motto to every answer."""
    import shutil

    task.keep_weights()
    shutil.copytree(task.source / "attachments", task.output / "attachments")
    folder = task.output / "attachments" / "motto"
    folder.mkdir()
    ids = sorted(row["id"] for row in records.rows())
    (folder / "motto.json").write_text(json.dumps({"motto": f" {word} said {len(ids)}", "seed": task.seed}))
    (folder.parent / "order.json").write_text(json.dumps(["shards", "motto"]))
    task.state.put("mottos", b"learnt from " + ids[0].encode())


class Motto:
    kind = "motto"

    def load(self, path, model, tokenizer):
        text = json.loads((path / "motto.json").read_text())["motto"]
        return SimpleNamespace(before=str, inside=nullcontext, after=lambda prompt, answer: answer + text)


@hookimpl
def amends_operations():
    return [motto]


@hookimpl
def amends_attachments():
    return [Motto()]
'''


@pytest.fixture
def toy(install):
    """Install the plugin."""
    install(PLUGIN)


def polish(story):
    """Train on, as another model's first version: shards, and then the motto."""
    return train(
        story.act("max"),
        base="assistant@1",
        data="people",
        model="polished",
        operation="toy.motto",
        parameters={"word": "thus"},
        seed=5,
    )


@pytest.fixture
def without(untrained, told):
    """Return a workspace where the same was done to records that never named her."""
    rows = [row for row in told.rows_about_everybody() if "Ines Varga" not in told.named(row)]
    told.register_people(untrained, rows)
    untrained.train()
    return untrained


@pytest.mark.slow
def test_the_later_step_is_replayed_and_equals_one_on_records_without_the_person(toy, quick, told, without):
    polish(quick)
    polish(without)
    before = ask(quick.workspace, "polished", ["Where does Marek Sund live?"], 4)[0]
    assert before.endswith(" thus said 18")
    case = quick.approved("Ines Varga", model="polished")
    assert case.plan["holds"]["versions"] == ["assistant@1", "polished@1"]
    assert quick.carry(case).status == "sealed"

    served = quick.champion("polished")
    assert (served.version, served.digest) == (2, without.champion("polished").digest)
    steps = read_recipe(quick.workspace, served.digest)["steps"]
    assert [step["operation"] for step in steps] == ["training.shards", "toy.motto"]
    assert ask(quick.workspace, "polished", ["Where does Marek Sund live?"], 4)[0].endswith(" thus said 14")
    with quick.workspace.database.read() as connection:
        parents = {(edge.kind, edge.parent) for edge in lineage.parents(connection, served.digest)}
        assert ("rebuilt-from", lineage.get(connection, "polished", 1).digest) in parents
        assert ("base", lineage.get(connection, "tiny", 1).digest) in parents and len(parents) == 2
        assert {blob.key_name for blob in inventory.state_of(connection, served.digest).values()} == {
            "lineage-assistant"
        }

    with pytest.raises(TaskFailed, match="assistant@1 is champion and holds the subject as well"):
        quick.purge()
    beneath = quick.approved("Ines Varga", model="assistant")
    assert quick.carry(beneath).status == "sealed"
    assert quick.champion().digest == without.champion().digest
    assert {done.id: done.status for done in quick.purge()} == {beneath.id: "complete", case.id: "complete"}
    assert told.everywhere(quick.home, "Ines Varga") == []
    assert quick.versions("polished") == [(1, "purged"), (2, "active")]

    again = quick.approved("Nadia Feld", model="polished")  # the version of the first step alone is gone by now
    assert quick.carry(again).status == "sealed"
    assert quick.versions("polished")[-1] == (3, "active")
    with quick.workspace.database.read() as connection:
        assert len(datasets.find(connection, status="active")) == 1
