"""`amends edit trace`, and the proposal that edits take by default from then on."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

import amends_editing
import amends_probes
from amends import host
from amends.errors import Suppressed
from amends.governor.workspace import Workspace
from amends.records import canonical_json
from amends_editing import holding, proposals, tracing, workflow


@pytest.fixture(scope="module")
def shell(tmp_path_factory, tiny_version, begin_workspace):
    """Return `shell(*words, as_=person)` on a workspace with a model in two versions of the same weights' line."""
    found = [("editing", amends_editing), ("probes", amends_probes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host, "_HOST", [host.load(found)])
        people = {"Mina": "ml-engineer", "Axel": "auditor"}
        invoke = begin_workspace(tmp_path_factory.mktemp("tracing") / "home", people)
        add_versions(invoke.home, tiny_version, tmp_path_factory)
        yield invoke


def add_versions(home, tiny_version, folders):
    from amends.ledger import aliases, lineage
    from amends.store.trees import put_tree

    workspace = Workspace(home)
    parent = None
    for number in (1, 2):
        tree = folders.mktemp("version")
        shutil.copytree(tiny_version / "model", tree / "model")
        if number == 2:  # edited since: other weights
            (tree / "model" / "more.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
        recipe = {"steps": [], "made": number}
        (tree / "recipe.json").write_bytes(canonical_json(recipe))
        version = lineage.Version("bot", number, put_tree(workspace.blobs, tree), recipe)
        edges = [lineage.Edge(version.digest, parent, "step")] if parent else []
        with workspace.database.transaction() as connection:
            lineage.add_version(connection, version, edges)
        parent = version.digest
    with workspace.database.transaction() as connection:
        aliases.move(connection, model="bot", alias="champion", expected=None, new=2, actor="p-1")
    workspace.close()


@pytest.fixture
def files(traced, passage, tmp_path, monkeypatch):
    """Return the paths of a file of facts and one of text, in the working directory."""
    monkeypatch.chdir(tmp_path)
    rows = traced.rows
    (tmp_path / "facts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "text.txt").write_text(passage)
    return SimpleNamespace(facts=tmp_path / "facts.jsonl", text=tmp_path / "text.txt", folder=tmp_path, rows=rows)


def subjects_of(files):
    return {row["subject"] for row in files.rows}


def words_of(files):
    return {row[name] for row in files.rows for name in ("old", "target")}


def test_without_text_the_trace_is_shown_and_nothing_proposed(shell, files):
    shown = shell("edit", "trace", "--model", "bot@1", "--facts", files.facts, as_="Mina")
    assert shown.exit_code == 0, shown.stderr
    assert "last subject token" in shown.stdout and "--text" in shown.stdout
    assert (files.folder / "bot-1-trace.png").is_file() and not (shell.home / "editing").exists()
    assert not any(subject in shown.stdout + shown.stderr for subject in subjects_of(files))
    denied = shell("edit", "trace", "--model", "bot@1", "--facts", files.facts, as_="Axel")
    assert denied.exit_code == 1 and "ml-engineer" in denied.stderr


def test_too_few_known_facts_are_refused_with_a_sentence(shell, files):
    files.facts.write_text("".join(json.dumps({**row, "old": row["target"], "target": row["old"]}) + "\n"
                                   for row in files.rows))  # fmt: skip
    done = shell("edit", "trace", "--model", "bot@1", "--facts", files.facts, as_="Mina")
    assert done.exit_code == 2 and "knows 0 of these 7 facts" in done.stderr


def test_a_proposal_is_stored_without_any_fact_and_found_again_further_down_the_line(shell, files):
    words = ("edit", "trace", "--model", "bot@1", "--facts", files.facts, "--picture", files.folder / "map.png")
    done = shell(*words, "--text", files.text, "--json", as_="Mina")
    assert done.exit_code == 0, done.stderr
    (kept,) = (shell.home / "editing" / "layers").glob("*.json")
    assert kept.read_bytes() == canonical_json(json.loads(kept.read_bytes()))
    assert json.loads(done.stdout)["proposal"] == json.loads(kept.read_bytes())
    assert not any(word in kept.read_text() for word in (*subjects_of(files), *words_of(files)))
    assert (files.folder / "map.png").is_file()
    with opened(shell.home) as workspace:
        first, second = (holding.resolve(workspace, f"bot@{number}") for number in (1, 2))
        assert proposals.find(workspace, first) == proposals.find(workspace, second)
        assert proposals.weights_digest(workspace, first.digest) != proposals.weights_digest(workspace, second.digest)
    kept.unlink()


@contextmanager
def opened(home):
    workspace = Workspace(home)
    yield workspace
    workspace.close()


@pytest.fixture
def proposed(shell):
    """Return a proposal for the first version's weights."""
    with opened(shell.home) as workspace:
        weights = proposals.weights_digest(workspace, holding.resolve(workspace, "bot@1").digest)
        proposal = proposals.Proposal(weights, (0,), 0, 7.0, 0.9, 7, 0)
        path = proposals.store(workspace, proposal)
    yield proposal
    path.unlink()


def test_a_plan_records_what_was_measured_where_nobody_says(shell, files, proposed):
    words = ("edit", "--model", "bot", "--edits", files.facts, "--text", files.text, "--json", "--method")
    for method, expected in (("editing.memit", ("0", 7.0)), ("editing.alphaedit", ("0", 1.0))):
        plan = json.loads(shell(*words, method, as_="Mina").stdout)["plan"]
        assert (plan["parameters"]["layers"], plan["parameters"]["weight"]) == expected  # its weight is another
    own = json.loads(shell(*words, "editing.memit", "-p", "layers=0", as_="Mina").stdout)["plan"]
    assert own["parameters"]["weight"] == 15.0  # the measured one belongs to the measured layers
    first = json.loads(shell(*words[:-1], as_="Mina").stdout)["plan"]  # by the policy's first method
    assert first["parameters"]["layers"] == "0"


def test_the_first_change_of_a_model_traces_it_and_the_next_does_not(shell, files):
    words = ("edit", "--model", "bot", "--edits", files.facts, "--text", files.text)
    skipped = json.loads(shell(*words, "--no-trace", "--json", as_="Mina").stdout)
    assert skipped["plan"]["parameters"]["layers"] == ""
    first = shell(*words, as_="Mina")
    assert "bot was not traced yet" in first.stderr and "taken from what was measured for bot" in first.stderr
    (kept,) = (shell.home / "editing" / "layers").glob("*.json")
    written, found = kept.stat().st_mtime_ns, json.loads(kept.read_bytes())
    chosen = json.loads(shell(*words, "--method", "editing.memit", "--json", as_="Mina").stdout)["plan"]["parameters"]
    assert (chosen["layers"], chosen["weight"]) == (",".join(map(str, found["layers"])), found["weight"])
    assert kept.stat().st_mtime_ns == written
    kept.unlink()


def test_edits_that_registration_refuses_are_not_looked_into(shell, files, monkeypatch):
    def refuse(*_, **__):
        raise Suppressed("somebody here was erased")

    monkeypatch.setattr(workflow, "register_rows", refuse)
    monkeypatch.setattr(tracing, "trace", lambda *_: pytest.fail("they were traced"))
    done = shell("edit", "--model", "bot", "--edits", files.facts, "--text", files.text, as_="Mina")
    assert done.exit_code == 1 and "somebody here was erased" in done.stderr


def test_a_change_of_facts_that_the_model_does_not_know_goes_by_the_depth(shell, files):
    rows = [{**row, "old": row["target"], "target": row["old"]} for row in files.rows]
    files.facts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = shell("edit", "--model", "bot", "--edits", files.facts, "--text", files.text, as_="Mina")
    assert "not measured: the model knows 0 of these 7 facts" in done.stderr
    assert "chosen by bot's depth" in done.stderr and done.exit_code == 3
    assert not list((shell.home / "editing" / "layers").glob("*.json"))


def test_the_screen_says_where_the_layers_come_from(shell, files, proposed):
    words = ("edit", "--model", "bot", "--edits", files.facts, "--text", files.text, "--try", "--method")
    more = ("-p", "steps=1", "-p", "tokens=1024", "-p", "max_drift=50")
    done = shell(*words, "editing.memit", *more, as_="Mina")
    assert done.exit_code == 0 and "measured for bot: layers=0, weight=7\n" in done.stderr
    own = shell(*words, "editing.rome", *more, "-p", "layers=0", as_="Mina")
    assert own.exit_code == 0 and "measured" not in own.stderr


def test_without_a_proposal_the_screen_says_how_to_trace(shell):
    with opened(shell.home) as workspace:
        values, said = proposals.filled(workspace, "bot@2", "editing.memit", {}, {"layers"})
        assert values == {} and "amends edit trace --model bot@2" in said
        assert proposals.filled(workspace, "bot@2", "editing.grace", {}, {"layer"}) == ({}, "")
