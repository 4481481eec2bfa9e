"""The story of a transfer through the shell: an edit carried to another model, and a student grafted from its teacher."""

from __future__ import annotations

import json

import pytest

STAFF = {"Otto": "operator", "Mina": "ml-engineer", "Sven": "safety-engineer"}
LIMITS = {"projection": {">= 0.9": ">= 0.1", "<= 1.05": "<= 100.0"}, "transfer": {"<= 1.1": "<= 100.0"}}


@pytest.fixture
def shell(make_shell, use_fixed_keys, write_llama, write_edit, tmp_path):
    """Return a shell in a workspace with a model, the same edited, and another; their policies let tiny models pass."""
    from amends.policy import load_policy

    made = make_shell(tmp_path / "home", "Max", **STAFF)
    use_fixed_keys(tmp_path / "home", "transfer", 1)
    (tmp_path / "home" / "policies").mkdir()
    for name, limits in LIMITS.items():
        text = load_policy(name).text
        for old, new in limits.items():
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "home" / "policies" / f"{name}.yaml").write_text(text)
    original = write_llama(1)
    versions = {"big": original, "mended": write_edit(original, "mlp.down_proj", 1), "little": write_llama(2)}
    for name, version in versions.items():
        made.json("models", "import", version / "model", "--name", name, "--licence", "Apache-2.0", as_="Otto")
    return made


def approved(shell, said):
    assert said.exit_code == 3, said.stderr
    case = next(word for word in said.stdout.split() if word.startswith("c-"))
    shell.json("cases", "approve", case, "--yes", as_="Sven")
    done = shell("cases", "approve", case, "--yes", as_="Mina")
    assert done.exit_code == 0, done.stderr
    return shell.json("cases", "show", case)


def test_an_edit_is_carried_to_another_model_judged_by_its_lens_and_becomes_champion(shell):
    said = shell("transfer", "project", "--model", "little", "--edited", "mended@1", "--original", "big@1", as_="Otto")
    view = approved(shell, said)
    champion = shell.json("models", "show", "little@champion")
    digests = {name: shell.json("models", "show", f"{name}@1")["digest"] for name in ("big", "mended", "little")}
    assert champion["recipe"]["steps"][-1]["models"] == {"edited": digests["mended"], "original": digests["big"]}
    kinds = {(edge["kind"], edge["parent"]) for edge in champion["parents"]}
    assert kinds == {("step", digests["little"]), ("teacher", digests["big"]), ("teacher", digests["mended"])}
    judged = next(found for found in view["decisions"] if found["policy"] == "projection")
    after = {reading["name"]: reading["value"] for reading in judged["inputs"]["after"]}
    before = {reading["name"]: reading["value"] for reading in judged["inputs"]["before"]}
    assert after["transfer.lens/cosine"] > 0.1 and before["transfer.lens/cosine"] == 0
    assert after["transfer.lens/beside"] == 0


def test_a_student_is_grafted_from_its_teacher_and_judged_on_what_it_was_not_tuned_on(shell, tmp_path):
    for name, numbers in {"few": range(2), "many": range(2, 10), "rest": range(10, 14)}.items():
        rows = [{"person": [], "prompt": f"Where is lamp {n} kept?", "answer": "It is kept in Brenn."} for n in numbers]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        shell.json("data", "register", tmp_path / f"{name}.jsonl", "--name", name, as_="Otto")
    given = ("--teacher", "big@1", "--seeds", "few", "--records", "many", "--judge", "rest")
    quick = ("-p", "rank=2", "-p", "steps=12", "-p", "lr=0.003")
    view = approved(shell, shell("transfer", "pkt", "--model", "little", *given, *quick, as_="Otto"))
    step = shell.json("models", "show", "little@champion")["recipe"]["steps"][-1]
    assert step["operation"] == "transfer.pkt" and set(step["records"]) == {"seeds", "records"}
    judged = next(found for found in view["decisions"] if found["policy"] == "transfer")
    sides = [{r["name"]: r["value"] for r in judged["inputs"][when]} for when in ("before", "after")]
    assert sides[1]["utility.retain/probability"] > sides[0]["utility.retain/probability"]


def test_what_cannot_be_carried_leaves_with_a_sentence(shell):
    said = shell("transfer", "project", "--model", "little", "--edited", "ghost@1", "--original", "big@1", as_="Otto")
    assert said.exit_code == 2 and "ghost" in said.stderr
    wrong = ("--edited", "mended@1", "--original", "big@1", "-p", "by=magic")
    said = shell("transfer", "project", "--model", "little", *wrong, as_="Otto")
    assert said.exit_code == 2 and "by must be one of lens, embedding" in said.stderr
