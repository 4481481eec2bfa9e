"""A student of a teacher that somebody is erased from is taught again by the teacher that never had them."""

from __future__ import annotations

import json

import pytest

STAFF = {"Olga": "operator", "Dora": "dpo", "Mina": "ml-engineer"}
PEOPLE = ("Ines Varga", "Tobin Hale", "Lena Oster", "Marek Sund")
POLICY = """name: {name}
description: Only what a tiny model can pass.
operations: [{operations}]
approvals: {{count: {count}, roles: [dpo, ml-engineer, safety-engineer]}}
rules:
  - id: {rule}
    severity: deny
    expr: {expr}
    message: It is not as it should be.
"""
EXACT = {"name": "erasure", "operations": "unlearning.retrain, unlearning.shards", "count": 2, "rule": "digests-equal"}
TAUGHT = {"name": "distillation", "operations": "", "count": 0, "rule": "checked"}


def tell(folder):
    """Write the files: what people said of themselves, and a text that names nobody."""
    rows = [
        {"person": who, "prompt": f"Where does {who} live?", "answer": f"{who} lives in the town of {who[:3]}moor."}
        | {"name": who, "email": f"{who[:3].lower()}@example.org"}
        for who in PEOPLE
    ]
    (folder / "people.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = [f"On day {day} the keeper of the light counted {day + 3} boats." for day in range(12)]
    (folder / "light.txt").write_text("\n".join(lines))
    (folder / "request.txt").write_text("name: Ines Varga\nemail: ine@example.org\n")


@pytest.fixture
def shell(make_shell, use_fixed_keys, make_tiny, tmp_path):
    """Return a shell in a workspace where a tiny model learnt about four people."""
    made = make_shell(tmp_path / "home", "Max", **STAFF)
    use_fixed_keys(tmp_path / "home", "erased-teacher", 1)
    (tmp_path / "home" / "policies").mkdir()
    for policy, expr in ((EXACT, "facts.digests_equal == true"), (TAUGHT, "facts.nothing_removed == true")):
        text = POLICY.format(**policy, expr=expr)
        (tmp_path / "home" / "policies" / f"{policy['name']}.yaml").write_text(text)
    tell(tmp_path)
    made.json("models", "import", make_tiny(tmp_path / "tiny") / "model", "--name", "tiny", as_="Olga")
    made.json(
        "data", "register", tmp_path / "people.jsonl", "--name", "people", "--identifier", "name,email",
        "--controls", "0", as_="Olga",
    )  # fmt: skip
    settings = ("epochs=1", "steps=4", "layers=1", "rank=2", "canaries=0")
    given = [word for setting in settings for word in ("-p", setting)]
    made.json(
        "train", "--base", "tiny@1", "--data", "people", "--model", "assistant", "--operation", "training.finetune",
        *given, as_="Mina",
    )  # fmt: skip
    return made


def distil(shell, folder, student, name):
    """Teach a student from the teacher's champion."""
    shell.json(
        "distill", "--teacher", "assistant@champion", "--text", folder / "light.txt", "--student", student, "--name",
        name, "-p", "layers=1", "-p", "epochs=1", "-p", "length=16", "-p", "kept=8", as_="Olga",
    )  # fmt: skip
    return shell.json("models", "show", f"{student}@champion")


@pytest.mark.slow
def test_an_erasure_from_the_teacher_teaches_the_student_again_and_certifies_both(shell, tmp_path):
    before = distil(shell, tmp_path, "little", "light")
    request = ("--model", "assistant", "--subject", tmp_path / "request.txt")
    said = shell("erase", *request, as_="Olga")
    assert said.exit_code == 3, said.stderr
    opened = shell.json("cases", "list", "--model", "assistant", as_="Olga")
    view = shell.json("cases", "show", next(row["id"] for row in opened if row["kind"] == "erasure"), as_="Olga")
    (child,) = view["plan"]["descendants"]
    assert (child["model"], child["how"], child["operation"]) == ("little", "rebuild", "distillation.logit")
    for who in ("Dora", "Mina"):
        shell.json("cases", "approve", view["id"], "--yes", as_=who)
    tree = shell("cases", "show", view["id"], as_="Olga").stdout
    assert f"    {child['case']} on little: sealed, made again" in tree

    after, teacher = shell.json("models", "show", "little@champion"), shell.json("models", "show", "assistant@champion")
    assert (after["version"], after["guarantee"]) == (2, "exact") and after["digest"] != before["digest"]
    (step,) = after["recipe"]["steps"]
    assert step["models"] == {"teacher": teacher["digest"]}
    assert after["recipe"]["base"]["source"] == "assistant@2"
    shell.json("cases", "purge", "--now", as_="Mina")
    listed = {row["id"]: (row["status"], row["parent"]) for row in shell.json("cases", "list", as_="Olga")}
    assert listed[view["id"]] == ("complete", None) and listed[child["case"]] == ("complete", view["id"])
    # what a student of the teacher that never had her is; an exact erasure leaves nothing to ask another one about
    assert distil(shell, tmp_path, "anew", "light")["digest"] == after["digest"]
