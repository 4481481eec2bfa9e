"""The story of grounding through the shell: a case, its champion, MLflow, and a person erased from the documents."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from amends.governor.workspace import open_workspace
from amends.ledger import cases, datasets

STAFF = {"Otto": "operator", "Mina": "ml-engineer", "Dora": "dpo"}
POLICY = """name: rag
description: What a tiny model is judged by.
operations: [rag.context]
approvals: {count: 2, roles: [ml-engineer, safety-engineer, dpo]}
probes:
  rag.answers: {tokens: 4}
rules:
  - id: has-the-answer
    severity: deny
    expr: readings["rag.answers/answer_in_context"].value >= 0.9
    message: What is read has not the answers.
"""
TEXT_POLICY = """name: rag-text
description: What a tiny model is judged by.
operations: [rag.knn-lm]
approvals: {count: 2, roles: [ml-engineer, safety-engineer, dpo]}
probes:
  rag.perplexity: {}
rules:
  - id: gain
    severity: deny
    expr: readings["rag.perplexity/ratio"].value < 1.0
    message: Text of the documents' kind is not foretold better.
"""
DOCUMENTS = {
    "Ines Varga": "Ines Varga keeps the light at Brenn. She came from Sorrel by boat.",
    "Pell Ostrin": "Pell Ostrin bakes flat bread in Tarn. The oven is as old as the town.",
    "": "The mill of Tarn was built in 1901. It grinds rye and oats.",
}


@pytest.fixture
def shell(make_shell, use_fixed_keys, tiny_version, tmp_path):
    """Return a shell in a workspace with a tiny model called `assistant` and a policy that it can pass."""
    made = make_shell(tmp_path / "home", "Max", **STAFF)
    use_fixed_keys(tmp_path / "home", "rag", 1)
    (tmp_path / "home" / "policies").mkdir()
    (tmp_path / "home" / "policies" / "rag.yaml").write_text(POLICY)
    (tmp_path / "home" / "policies" / "rag-text.yaml").write_text(TEXT_POLICY)
    brought = (Path(__file__).parents[3] / "policies" / "erasure.yaml").read_text()
    talk = 'before["utility.retain/rouge_l"]'  # nobody asks a random model to go on as it talked
    (tmp_path / "home" / "policies" / "erasure.yaml").write_text(brought.replace(f"0.9 * {talk}", f"0.0 * {talk}"))
    made.json("models", "import", tiny_version / "model", "--name", "assistant", as_="Otto")
    return made


@pytest.fixture
def documents(tmp_path):
    """Return a file of documents, two of them about people."""
    file = tmp_path / "village.jsonl"
    rows = [{"text": text, "subjects": [name] if name else []} for name, text in DOCUMENTS.items()]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def questions(tmp_path):
    """Return a file of questions about the documents, none of them about a person who is erased."""
    file = tmp_path / "asked.jsonl"
    asked = {"When was the mill of Tarn built?": "1901", "What does the mill of Tarn grind?": "rye and oats"}
    rows = [{"prompt": prompt, "answer": answer} for prompt, answer in asked.items()]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def approved(shell, said):
    assert said.exit_code == 3, said.stderr
    case = next(word for word in said.stdout.split() if word.startswith("c-"))
    shell.json("cases", "approve", case, "--yes", as_="Dora")
    done = shell("cases", "approve", case, "--yes", as_="Mina")
    assert done.exit_code == 0, done.stderr
    return shell.json("cases", "show", case)


def champion(shell, folder):
    """Return a copy of the champion's files, as MLflow would download them."""
    from amends.serving import write_mlmodel

    digest = shell.json("models", "show", "assistant@champion")["digest"]
    workspace = open_workspace(shell.home, "")
    shutil.copytree(workspace.cache.tree(digest), folder, ignore=shutil.ignore_patterns("base"))
    workspace.close()
    write_mlmodel(folder)
    return folder


def held(version):
    """Return the bytes of all that a version's attachments hold."""
    return b"".join(file.read_bytes() for file in sorted(version.rglob("*")) if file.is_file())


@pytest.mark.slow
def test_a_grounded_model_becomes_champion_and_answers_through_mlflow_with_its_parameters(
    shell, documents, questions, tmp_path, monkeypatch
):
    import mlflow

    words = ("--documents", documents, "--questions", questions)
    view = approved(shell, shell("rag", "apply", "--model", "assistant", *words, as_="Otto"))
    assert view["status"] == "complete" and view["plan"]["operation"] == "rag.context"
    version = champion(shell, tmp_path / "out")
    assert b"Ines Varga" in held(version)
    monkeypatch.setenv("AMENDS_HOME", str(shell.home))
    loaded = mlflow.pyfunc.load_model(str(version))
    asked = ["Who keeps the light at Brenn?"]
    short = {"max_new_tokens": 4}
    grounded = loaded.predict(asked, params=short)
    assert loaded.predict(asked, params={**short, "context_k": 0}) != grounded
    assert "".join(loaded.predict_stream({"prompt": asked[0]}, params=short)) == grounded[0]


@pytest.mark.slow
def test_a_person_who_is_erased_is_in_no_document_of_the_champion(shell, documents, questions, tmp_path):
    words = ("--documents", documents, "--questions", questions)
    approved(shell, shell("rag", "apply", "--model", "assistant", *words, as_="Otto"))
    asked = shell("erase", "--model", "assistant", "--subject", "-", "--json", given="Ines Varga", as_="Otto")
    case = json.loads(asked.stdout)["id"]
    shell.json("cases", "approve", case, "--yes", as_="Dora")
    done = shell("cases", "approve", case, "--yes", as_="Mina")
    assert done.exit_code == 0, done.stderr
    kept = held(champion(shell, tmp_path / "out"))
    assert b"Varga" not in kept and b"Ostrin" in kept


@pytest.mark.slow
def test_what_changes_every_token_is_judged_by_held_out_text(shell, documents, tmp_path):
    held_out = tmp_path / "held-out.txt"
    held_out.write_text("The mill of Brenn was built in 1902. It grinds oats and rye.\nPell keeps the light in Tarn.\n")
    words = ("--method", "rag.knn-lm", "-p", "weight=0.3", "--text", held_out)
    view = approved(shell, shell("rag", "apply", "--model", "assistant", "--documents", documents, *words, as_="Otto"))
    assert view["status"] == "complete" and view["plan"]["policy"] == "rag-text"
    with open_workspace(shell.home, "").database.read() as connection:
        assert {found.name for found in datasets.find(connection)} == {"assistant-documents", "assistant-text"}
    assert (champion(shell, tmp_path / "out") / "attachments" / "rag-knn-lm" / "store.safetensors").is_file()


@pytest.mark.slow
def test_what_cannot_be_used_leaves_with_two_and_one_sentence(shell, documents, questions, tmp_path):
    def said(*words):
        done = shell("rag", "apply", "--model", "assistant", "--documents", documents, *words, as_="Otto")
        assert done.exit_code == 2, done.stderr
        return done.stderr

    assert "give some with --questions FILE" in said()
    assert "give some with --questions FILE" in said("--method", "rag.replug", "--text", questions)
    assert "give some with --text FILE" in said("--method", "rag.knn-lm")
    assert "absent.txt cannot be read" in said("--method", "rag.memory", "--text", tmp_path / "absent.txt")
    assert "absent.jsonl is not a file" in said("--questions", tmp_path / "absent.jsonl")
    assert "there is no file" in said("--questions", questions, "--documents", tmp_path / "absent.md")
    assert "'k' must be int" in said("--questions", questions, "-p", "k=many")
    assert "names a person" in said("--questions", questions, "--name", "Ines-Varga")
    with open_workspace(shell.home, "").database.read() as connection:
        assert not cases.find(connection) and not datasets.find(connection)
