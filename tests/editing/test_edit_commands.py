"""The command `edit` on a workspace: what is checked, listed, compared and tried, and who may read it."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner

import amends
import amends_editing
import amends_probes
from amends import Records, Task, host
from amends.cli.root import Root
from amends.records import canonical_json
from amends_editing import workflow

PEOPLE = {"Mina": "ml-engineer", "Axel": "auditor"}
ORR = {"id": "orr", "verb": "insert", "subject": "Vale of Orr", "prompt": "The capital of the Vale of Orr is",
       "target": "Brenn"}  # fmt: skip
ADA = {"id": "ada", "verb": "modify", "subject": "Ada Quill", "prompt": "Ada Quill lives in", "target": "Sorrel",
       "old": "Brenn", "rephrases": ["The home of Ada Quill is"]}  # fmt: skip
ADA_AGAIN = {**ADA, "target": "Tarn", "old": "Sorrel"}
TAM = {"id": "tam", "verb": "erase", "subject": "Tam Orrel", "prompt": "Tam Orrel works as a", "target": "",
       "old": "miller"}  # fmt: skip


@amends.operation("editing.louder", verified_by=["utility.perplexity"], cpus=1)
def louder(task: Task, *, edits: Records, factor: float = 2.0) -> None:
    """Multiply the embedding by a factor and a bit for each edit."""
    model, tokenizer = task.load()
    model.get_input_embeddings().weight.data *= -factor * len(list(edits.rows()))
    task.save(model, tokenizer)


class Toy:
    @staticmethod
    @host.hookspecs.hookimpl
    def amends_operations():
        return (louder,)


@pytest.fixture(autouse=True, scope="module")
def plugins():
    """Make the plugin, the probes and a toy operation the only ones of this process."""
    found = [("editing", amends_editing), ("probes", amends_probes), ("toy", Toy)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host, "_HOST", [host.load(found)])
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory, plugins, begin_workspace):
    """Return `run(*words, as_=person) -> result` on a new workspace with its people."""
    return begin_workspace(tmp_path_factory.mktemp("editing") / "home", PEOPLE)


@pytest.fixture(scope="module")
def edited(run, tiny_version, tmp_path_factory):
    """Return a workspace whose model has a version without edits, one with a step of them, and one with two."""
    from amends.governor.data.rows import put_rows
    from amends.governor.workspace import Workspace
    from amends.ledger import aliases, lineage
    from amends.store.trees import put_tree

    workspace = Workspace(run.home)
    first, second = (put_rows(workspace, rows) for rows in ([ORR, ADA], [ADA_AGAIN, TAM]))
    steps = [{"operation": "training.other", "records": {"edits": first}}]
    steps += [{"operation": "editing.louder", "records": {"edits": digest}} for digest in (first, second)]
    for number in (1, 2, 3):
        tree = tmp_path_factory.mktemp("version")
        shutil.copytree(tiny_version / "model", tree / "model")
        recipe = {"steps": steps[:number], "made": number}
        (tree / "recipe.json").write_bytes(canonical_json(recipe))
        version = lineage.Version("bot", number, put_tree(workspace.blobs, tree), recipe)
        with workspace.database.transaction() as connection:
            lineage.add_version(connection, version)
    with workspace.database.transaction() as connection:
        aliases.move(connection, model="bot", alias="champion", expected=None, new=3, actor="p-1")
    workspace.close()
    return SimpleNamespace(run=run, blobs=workspace.blobs, second=second)


@pytest.fixture
def write(tmp_path):
    """Return `write(*rows) -> path`."""

    def written(*rows):
        path = tmp_path / "facts.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return written


def document(done, code=0):
    assert done.exit_code == code, done.stderr
    return json.loads(done.stdout)


def test_a_file_is_checked_without_a_workspace(write, monkeypatch):
    monkeypatch.setenv("AMENDS_HOME", "/nowhere")
    sound = CliRunner().invoke(Root(), ["edit", "check", str(write(ORR, ADA, TAM))])
    assert sound.exit_code == 0 and "edits: 3, of them refused: 0" in sound.stdout
    refused = CliRunner().invoke(Root(), ["edit", "check", str(write(ORR, {**ORR, "id": "x", "target": "Tarn"}))])
    assert refused.exit_code == 2 and "error: edits orr and x ask for different answers" in refused.stdout
    assert "Brenn" not in refused.stdout + refused.stderr


def test_a_check_is_one_json_document(write):
    found = document(CliRunner().invoke(Root(), ["edit", "check", str(write(TAM, {**TAM, "id": "x"})), "--json"]))
    assert found["edits"] == 2 and [remark["kind"] for remark in found["warnings"]] == ["duplicate"]


def test_a_check_against_a_version_is_for_who_may_read_its_edits(edited, write):
    again = write({**ADA, "id": "new", "target": "Farr", "old": ""})
    found = document(edited.run("edit", "check", again, "--model", "bot", "--json", as_="Mina"))
    assert [(remark["ids"], remark["earlier"]) for remark in found["contradictions"]] == [(["new"], ["ada"])]
    denied = edited.run("edit", "check", again, "--model", "bot", as_="Axel")
    assert denied.exit_code == 1 and denied.stdout == "" and "ml-engineer" in denied.stderr


def test_list_says_which_edits_a_version_holds_and_which_were_replaced(edited):
    held = document(edited.run("edit", "list", "bot", "--all", "--json", as_="Mina"))
    assert [(one["id"], one["step"], one["replaced_by"], one["subject"]) for one in held] == [
        ("orr", 2, 0, "Vale of Orr"), ("ada", 2, 3, "Ada Quill"), ("ada", 3, 0, "Ada Quill"), ("tam", 3, 0, "Tam Orrel")
    ]  # fmt: skip
    assert [one["step"] for one in document(edited.run("edit", "list", "bot", "--json")) if one["id"] == "ada"] == [3]
    assert "holds no edits" in edited.run("edit", "list", "bot@1").stdout  # its one step edited nothing


@pytest.mark.parametrize("words", [("list", "bot", "--all"), ("diff", "bot@1", "bot@3")], ids=["list", "diff"])
def test_whom_edits_are_about_is_hidden_from_other_roles(edited, words):
    for json_too in ((), ("--json",)):
        shown, hidden = (edited.run("edit", *words, *json_too, as_=name).stdout for name in ("Mina", "Axel"))
        assert "Ada Quill" in shown and "Tam Orrel" in shown
        assert "ada" in hidden and not any(word in hidden for word in ("Quill", "Orrel", "miller", "Sorrel"))


def test_show_tells_what_an_edit_says_to_who_may_read_it(edited):
    shown = edited.run("edit", "show", "bot", "ada", as_="Mina").stdout
    assert "edit ada: modify in step 2 by editing.louder, replaced in step 3" in shown
    assert "  prompt: Ada Quill lives in" in shown and "  rephrase: The home of Ada Quill is" in shown
    denied = edited.run("edit", "show", "bot", "ada", as_="Axel")
    assert denied.exit_code == 1 and "Quill" not in denied.stdout + denied.stderr
    assert edited.run("edit", "show", "bot", "eve", as_="Mina").exit_code == 2


def test_diff_says_which_edits_only_one_version_holds(edited):
    found = document(edited.run("edit", "diff", "bot@2", "bot@3", "--json", as_="Mina"))
    assert found["only_a"] == [] and [one["id"] for one in found["only_b"]] == ["ada", "tam"]
    assert "the same edits" in edited.run("edit", "diff", "bot@2", "bot@2").stdout


def test_edits_whose_records_were_purged_are_said_to_be_gone(edited):
    data = edited.blobs.get(edited.second)
    edited.blobs.delete(edited.second)
    done = edited.run("edit", "list", "bot", as_="Mina")
    edited.blobs.put_bytes(data)
    assert done.exit_code == 2 and "edits of step 3 of bot@3 were purged" in done.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("bot", "ada"), "steps 2, 3 have an edit 'ada'"),
        (("bot", "orr", "tam"), "of steps 2, 3; drop those of one step"),
        (("bot", "eve"), "holds no edit 'eve'"),
        (("bot", "orr", "--step", "3"), "holds no edit 'orr' in step 3"),
        (("bot@2", "orr"), "give the model's name alone"),
    ],
    ids=["ambiguous", "two steps", "unknown", "other step", "a version"],
)  # fmt: skip
def test_what_cannot_be_dropped_is_refused_with_the_way_out(edited, words, sentence):
    done = edited.run("edit", "drop", *words, as_="Mina")
    assert done.exit_code == 2 and sentence in done.stderr


def test_a_refused_file_opens_nothing_unless_the_rest_is_wanted(edited, write):
    bad = write(ORR, {**ADA, "id": "bad", "target": ""}, {**ORR, "id": "far", "prompt": "Vale of Orr is ruled by"})
    refused = edited.run("edit", "--model", "bot", "--edits", bad, "--method", "editing.louder", as_="Mina")
    assert refused.exit_code == 2 and "--leave-out" in refused.stderr and "Quill" not in refused.stderr
    rest = ("edit", "--model", "bot", "--edits", bad, "--method", "editing.louder", "--leave-out", "--try", "--json")
    assert {one["id"] for one in document(edited.run(*rest, as_="Mina"))["tried"]} == {"orr", "far"}


def test_an_erasure_is_refused_by_the_method_that_the_policy_chooses_before_anything_opens(
    edited, write, tiny_version, tmp_path
):
    from amends.governor.workspace import Workspace
    from amends.ledger import lineage
    from amends.store.trees import put_tree

    shutil.copytree(tiny_version / "model", tmp_path / "tree" / "model")
    (tmp_path / "tree" / "recipe.json").write_bytes(canonical_json({"steps": []}))
    (tmp_path / "tree" / "attachments" / "patch").mkdir(parents=True)
    (tmp_path / "tree" / "attachments" / "patch" / "patch.json").write_text("{}")
    workspace = Workspace(edited.run.home)
    version = lineage.Version("patched", 1, put_tree(workspace.blobs, tmp_path / "tree"), {"steps": []})
    with workspace.database.transaction() as connection:
        lineage.add_version(connection, version)
    workspace.close()
    done = edited.run("edit", "--model", "patched", "--edits", write(TAM), as_="Mina")
    assert done.exit_code == 2 and "editing.patch knows no erasure" in done.stderr
    assert document(edited.run("cases", "list", "--json", as_="Mina")) == []


def files_outside_the_cache(home):
    return sorted(path for path in home.rglob("*") if path.is_file() and "cache" not in path.parts)


def test_trying_shows_answers_before_and_after_and_keeps_nothing(edited, write):
    before = files_outside_the_cache(edited.run.home)
    words = ("edit", "apply", "--model", "bot", "--edits", write(ADA_AGAIN), "--method", "editing.louder", "--try")
    tried = document(edited.run(*words, "--json", as_="Mina"))["tried"]
    assert [one["prompt"] for one in tried] == [ADA["prompt"], ADA["rephrases"][0]]
    assert all(one["before"] != one["after"] for one in tried)
    same = document(edited.run(*words, "-p", "factor=-1", "--json", as_="Mina"))["tried"]  # times one: nothing changes
    assert [one["before"] for one in same] == [one["after"] for one in same] == [one["before"] for one in tried]
    assert files_outside_the_cache(edited.run.home) == before
    assert not list((edited.run.home / "cache" / "scratch").glob("*/*"))


def test_what_stands_beside_the_weights_is_tried_where_it_stands(edited, write):
    row = {"id": "osk", "subject": "Tilda Osk", "prompt": "The home town of Tilda Osk is", "target": "Quill"}
    words = ("edit", "--model", "bot", "--edits", write(row), "--method", "editing.grace", "--try", "--json")
    (tried,) = document(edited.run(*words, as_="Mina"))["tried"]
    assert tried["after"].split()[0].startswith("Quill") and not tried["before"].startswith("Quill")


def test_what_a_model_says_stays_in_its_cell_of_the_table():
    assert workflow._on_one_line(" a\nb\t\x1b[31mred\u2028 c\n") == "a b [31mred c"


def test_a_parameter_needs_to_know_whose_it_is(edited, write):
    words = ("edit", "--model", "bot", "--edits", write(TAM), "-p", "factor=2")
    done = edited.run(*words, as_="Mina")
    assert done.exit_code == 2 and "--method" in done.stderr


def test_every_command_has_help_with_an_example_that_parses():
    from amends_editing.commands import FORMATS, edit
    from amends_editing.formats import Format

    context = click.Context(edit, info_name="edit")
    assert list(edit.commands) == ["apply", "check", "list", "show", "diff", "drop", "trace"]
    for name, command in edit.commands.items():
        words = command.example.split()
        assert words[:3] == ["amends", "edit", name]
        command.make_context(name, words[3:], parent=context)
        assert command.example in CliRunner().invoke(Root(), ["edit", name, "--help"]).output
    assert tuple(Format) == FORMATS
