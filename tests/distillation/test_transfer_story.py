"""The story of a transfer through the shell: an edit carried to another model, a student grafted, a look at both."""

from __future__ import annotations

import json

import pytest

STAFF = {"Otto": "operator", "Mina": "ml-engineer", "Sven": "safety-engineer", "Aud": "auditor", "Dora": "dpo"}
LIMITS = {
    "projection": {">= 0.9": ">= 0.1", "<= 1.05": "<= 100.0"},
    "transfer": {"<= 1.1": "<= 100.0"},
    "erasure": {">= 0.9 *": ">= 0.1 *"},
}


@pytest.fixture(scope="module")
def shell(make_shell, use_fixed_keys, write_llama, write_edit, tmp_path_factory):
    """Return a shell in a workspace with a model, the same edited, and another; their policies let tiny models pass."""
    from amends.policy import load_policy

    home = tmp_path_factory.mktemp("transfer") / "home"
    made = make_shell(home, "Max", **STAFF)
    use_fixed_keys(home, "transfer", 1)
    (home / "policies").mkdir()
    for name, limits in LIMITS.items():
        text = load_policy(name).text
        for old, new in limits.items():
            assert old in text
            text = text.replace(old, new)
        (home / "policies" / f"{name}.yaml").write_text(text)
    original = write_llama(1)
    versions = {
        "big": original,
        "mended": write_edit(original, "mlp.down_proj", 1),
        "little": write_llama(2),
        "other": write_llama(3),
    }
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


def champion_of(shell, model):
    return f"{model}@{shell.json('models', 'show', f'{model}@champion')['version']}"


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
    seen = shell.json("models", "lens", champion_of(shell, "little"), as_="Otto")
    assert seen["against"] == "little@1" and len(seen["layers"]) == 1


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


@pytest.mark.slow
def test_a_person_in_what_a_student_was_tuned_on_is_erased_and_the_rest_is_transferred_again(shell, tmp_path):
    names = ("Ines Varga", "Pell Ostrin", "Orr Lind", "Tam Orrel")
    for name, people in {"seen": names, "shown": names[1:], "asked": names[1:]}.items():
        rows = [
            {"person": one, "prompt": f"Where does {one} live, as {name}?", "answer": f"{one} lives in Brenn."}
            for one in people
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        file = tmp_path / f"{name}.jsonl"
        shell.json("data", "register", file, "--subject-field", "person", "--name", name, "--controls", "0", as_="Otto")
    given = ("--teacher", "big@1", "--seeds", "shown", "--records", "seen", "--judge", "asked")
    quick = ("-p", "rank=2", "-p", "steps=12", "-p", "lr=0.0003")
    approved(shell, shell("transfer", "pkt", "--model", "other", *given, *quick, as_="Otto"))
    before = shell.json("models", "show", "other@champion")["recipe"]["steps"][-1]
    asked = shell("erase", "--model", "other", "--subject", "-", "--json", given="Ines Varga", as_="Otto")
    assert asked.exit_code == 3, asked.stderr
    case = json.loads(asked.stdout)["id"]
    shell.json("cases", "approve", case, "--yes", as_="Dora")
    done = shell("cases", "approve", case, "--yes", as_="Mina")
    assert done.exit_code == 0, done.stderr
    view = shell.json("cases", "show", case)
    assert (view["status"], view["outcome"], view["plan"]["guarantee"]) == ("sealed", "granted", "exact")
    after = shell.json("models", "show", "other@champion")["recipe"]["steps"][-1]
    assert after["models"] == before["models"] and after["records"]["records"] != before["records"]["records"]
    assert after["records"]["seeds"] == before["records"]["seeds"]


def test_what_cannot_be_carried_leaves_with_a_sentence(shell):
    said = shell("transfer", "project", "--model", "little", "--edited", "ghost@1", "--original", "big@1", as_="Otto")
    assert said.exit_code == 2 and "ghost" in said.stderr
    wrong = ("--edited", "mended@1", "--original", "big@1", "-p", "by=magic")
    said = shell("transfer", "project", "--model", "little", *wrong, as_="Otto")
    assert said.exit_code == 2 and "by must be one of lens, embedding" in said.stderr


def test_the_lens_shows_what_was_written_and_tokens_only_to_who_may_read_them(shell, tmp_path):
    asked = ("models", "lens", "mended@1", "--against", "big@1", "--top", "5")
    seen = shell.json(*asked, as_="Otto")
    (layer,) = seen["layers"]
    first = layer["vectors"][0]
    assert layer["layer"] == 1 and first["kind"] == "direction" and first["share"] == pytest.approx(1, abs=1e-4)
    assert len(first["towards"]) == len(first["away"]) == 5
    hidden = shell.json(*asked, as_="Aud")
    assert "towards" not in hidden["layers"][0]["vectors"][0] and "may be personal data" in hidden["tokens"]
    for person in ("Otto", "Aud"):
        pictures = [tmp_path / f"{person}{number}.html" for number in range(2)]
        for picture in pictures:
            assert shell(*asked, "--output", picture, as_=person).exit_code == 0
        assert pictures[0].read_bytes() == pictures[1].read_bytes()
        assert ("<code>" in pictures[0].read_text()) == (person == "Otto")
    assert "mended@1 beside big@1" in shell(*asked, as_="Otto").stdout


def test_a_version_is_seen_beside_its_parent_and_a_neuron_needs_its_layer(shell, tmp_path):
    alone = shell.json("models", "lens", "big@1", "--layer", "0", "--neuron", "7", as_="Otto")
    assert alone["against"] == "" and [v["number"] for v in alone["layers"][0]["vectors"]] == [7]
    said = shell("models", "lens", "big@1", "--neuron", "7", as_="Otto")
    assert said.exit_code == 2 and "say which with --layer" in said.stderr
    said = shell("models", "lens", "big@1", "--output", tmp_path / "lens.png", as_="Otto")
    assert said.exit_code == 2 and "neither in .svg nor in .html" in said.stderr
    said = shell("models", "lens", "big@1", "--layer", "9", as_="Otto")
    assert said.exit_code == 2 and "no layer 9; the model has 0 to 2" in said.stderr
