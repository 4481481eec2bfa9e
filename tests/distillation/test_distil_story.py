"""The story of a student through the shell: taught from a champion, judged beside it, registered with its lineage."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

import amends
from amends import Guarantee, host
from amends.ledger import lineage

STAFF = {"Otto": "operator", "Mina": "ml-engineer", "Sven": "safety-engineer"}
LIMITS = {"<= 2.0": "<= 1000.0", ">= 1.2": ">= 0.0", "most: 64, length: 128": "most: 4, length: 24"}
LINES = [
    f"On day {day} of that year the keeper of the light counted {day + 3} boats and wrote it down." for day in range(24)
]
QUICK = ("-p", "layers=1", "-p", "epochs=1", "-p", "length=16", "-p", "kept=8")


@pytest.fixture
def shell(make_shell, use_fixed_keys, tiny_version, tmp_path):
    """Return a shell in a workspace with a tiny model called `assistant` and a policy that a tiny student can pass."""
    from amends.policy import load_policy

    made = make_shell(tmp_path / "home", "Max", **STAFF)
    use_fixed_keys(tmp_path / "home", "distil", 1)
    (tmp_path / "home" / "policies").mkdir()
    text = load_policy("distillation").text
    for old, new in LIMITS.items():
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "home" / "policies" / "distillation.yaml").write_text(text)
    made.json("models", "import", tiny_version / "model", "--name", "assistant", "--licence", "Apache-2.0", as_="Otto")
    (tmp_path / "light.txt").write_text("\n".join(LINES))
    return made


def opened(shell):
    from amends.governor.workspace import open_workspace

    return open_workspace(shell.home, shell.tokens["Otto"])


def asked(shell, tmp_path, *more, student="little", teacher="assistant@1"):
    given = ("--teacher", teacher, "--text", tmp_path / "light.txt", "--student", student)
    return shell("distill", *given, *QUICK, *more, as_="Otto")


def approved(shell, said):
    assert said.exit_code == 3, said.stderr
    case = next(word for word in said.stdout.split() if word.startswith("c-"))
    shell.json("cases", "approve", case, "--yes", as_="Sven")
    done = shell("cases", "approve", case, "--yes", as_="Mina")
    assert done.exit_code == 0, done.stderr
    return shell.json("cases", "show", case)


def test_a_student_is_taught_judged_beside_its_teacher_and_becomes_champion(shell, tmp_path):
    from transformers import AutoModelForCausalLM

    view = approved(shell, asked(shell, tmp_path))
    assert view["status"] == "complete"
    champion = shell.json("models", "show", "little@champion")
    teacher = shell.json("models", "show", "assistant@1")
    (step,) = champion["recipe"]["steps"]
    assert step["operation"] == "distillation.logit" and step["models"] == {"teacher": teacher["digest"]}
    assert champion["recipe"]["base"] == {"source": "assistant@1", "licence": "Apache-2.0"}
    assert [(edge["kind"], edge["parent"]) for edge in champion["parents"]] == [("teacher", teacher["digest"])]
    assert [use["dataset"] for use in champion["data"]] == [step["records"]["text"]]
    shell.json("models", "export", "little@champion", tmp_path / "out", as_="Otto")
    where = next((tmp_path / "out").rglob("config.json")).parent
    assert AutoModelForCausalLM.from_pretrained(where, local_files_only=True).config.num_hidden_layers == 1
    judged = next(found for found in view["decisions"] if found["policy"] == "distillation")
    assert {reading["name"] for reading in judged["inputs"]["after"]} >= {
        "distillation.fidelity/ratio", "distillation.size/faster", "distillation.contamination/at_most",
    }  # fmt: skip


def test_a_student_that_exists_is_taught_further_and_keeps_its_own_parent_too(shell, tmp_path):
    approved(shell, asked(shell, tmp_path))
    again = shell(
        "distill", "--teacher", "assistant@1", "--text", tmp_path / "light.txt", "--student", "little", *QUICK[2:],
        "--name", "again", as_="Otto",
    )  # fmt: skip
    approved(shell, again)
    champion = shell.json("models", "show", "little@champion")
    assert sorted(edge["kind"] for edge in champion["parents"]) == ["step", "teacher"]
    assert len(champion["recipe"]["steps"]) == 2


def test_what_was_removed_is_asked_of_the_student_and_keeps_it_from_its_alias(shell, tmp_path):
    rows = [{"prompt": line[:40], "forbidden": [" "]} for line in LINES[:3]]
    (tmp_path / "bad.jsonl").write_text(
        "".join(json.dumps({**row, "forbidden": ["never said"]}) + "\n" for row in rows)
    )
    said = asked(shell, tmp_path, "--forbidden", tmp_path / "bad.jsonl")
    case = next(word for word in said.stdout.split() if word.startswith("c-"))
    shell.json("cases", "approve", case, "--yes", as_="Sven")
    done = shell("cases", "approve", case, "--yes", as_="Mina")
    assert done.exit_code == 1 and "made to forget" in done.stderr  # three prompts are too few to say that none is left


def test_what_cannot_be_used_leaves_with_two_and_one_sentence(shell, tmp_path):
    said = shell("distill", "--teacher", "assistant@1", "--text", tmp_path / "absent.txt", "--student", "x", as_="Otto")
    assert said.exit_code == 2 and "absent.txt cannot be read" in said.stderr
    said = asked(shell, tmp_path, "--forget", tmp_path / "light.txt")
    assert said.exit_code == 2 and "--control go together" in said.stderr
    said = shell("distill", "--teacher", "ghost", "--text", tmp_path / "light.txt", "--student", "x", as_="Otto")
    assert said.exit_code == 2 and "'ghost'" in said.stderr


@pytest.mark.parametrize(
    ("role", "mended"),
    [
        ("teacher", {"recipe": {"steps": [{"operation": "detox.steer"}]}}),
        ("teacher", {"recipe": {"steps": [{"operation": "unlearning.npo"}]}}),
        ("teacher", {"recipe": {"steps": [{"operation": "editing.forget"}]}}),
        ("student", {"guarantee": Guarantee.APPROXIMATE}),
    ],
    ids=["cured", "unlearnt", "edited", "student"],
)
def test_nobody_can_state_that_nothing_was_removed_where_the_ledger_knows_better(shell, tmp_path, role, mended):
    with opened(shell).database.transaction() as connection:
        lineage.add_version(connection, lineage.Version("mended", 1, "e" * 64, **mended))
    names = {"teacher": "assistant@1", "student": "little"} | {role: "mended@1" if role == "teacher" else "mended"}
    given = [word for name, value in names.items() for word in (f"--{name}", value)]
    said = shell("distill", *given, "--text", tmp_path / "light.txt", as_="Otto")
    assert said.exit_code == 2 and "something was removed from mended@1; say with --forget" in said.stderr


@pytest.mark.parametrize(("is_installed", "sentence"), [(True, "something was removed"), (False, "is not installed")])
def test_what_a_third_party_removes_is_known_by_its_declaration(shell, tmp_path, monkeypatch, is_installed, sentence):
    @amends.operation("cure.wash", verified_by=["utility.perplexity"], removes=True)
    def wash(task: amends.Task) -> None:
        """Wash something out."""

    if is_installed:
        monkeypatch.setitem(host.current()._operations, wash.name, ("cures", wash))
    with opened(shell).database.transaction() as connection:
        washed = {"steps": [{"operation": "cure.wash"}]}
        lineage.add_version(connection, lineage.Version("washed", 1, "e" * 64, washed))
    given = ("--teacher", "washed@1", "--student", "little", "--text", tmp_path / "light.txt")
    said = shell("distill", *given, as_="Otto")
    assert said.exit_code == 2 and sentence in said.stderr and "say with --forget and --control" in said.stderr


def test_what_was_said_of_one_teacher_is_not_said_of_the_next(shell, tmp_path):
    """A reference such as `assistant` may name another version when a case is planned again."""
    from amends.governor.cases.changing import open_change

    workspace = opened(shell)
    asked(shell, tmp_path, teacher="assistant")
    (case,) = shell.json("cases", "list", as_="Otto")
    plan = shell.json("cases", "show", case["id"], as_="Otto")["plan"]
    assert plan["facts"] == {"nothing_removed": True}
    other = open_change(
        workspace, model="other", policy="distillation", records=plan["records"], operation="distillation.logit",
        models={"teacher": "assistant"}, facts=plan["facts"],
    )  # fmt: skip
    with workspace.database.transaction() as connection:
        first = lineage.get(connection, "assistant", 1)
        lineage.add_version(connection, replace(first, number=2, mlflow_version=None))
    assert shell("cases", "replan", case["id"], as_="Sven").exit_code == 0
    again = shell.json("cases", "show", case["id"], as_="Otto")["plan"]
    assert again["models"] == plan["models"]  # the command named the version that it had looked at
    refused = shell("cases", "replan", other.id, as_="Sven")
    assert refused.exit_code == 1 and "or another teacher; cancel it, and ask for the change anew" in refused.stderr


def test_a_teacher_that_is_sealed_after_the_plan_was_approved_teaches_nobody(shell, tmp_path):
    said = asked(shell, tmp_path)
    case = next(word for word in said.stdout.split() if word.startswith("c-"))
    with opened(shell).database.transaction() as connection:
        lineage.set_status(connection, "assistant", 1, "sealed")
    shell.json("cases", "approve", case, "--yes", as_="Sven")
    done = shell("cases", "approve", case, "--yes", as_="Mina")
    assert done.exit_code == 1 and "assistant@1 is sealed since the plan" in done.stderr
    assert asked(shell, tmp_path, "--name", "anew").exit_code == 1


@pytest.fixture
def routed(shell, tiny_version, tmp_path):
    """Return a teacher in the workspace that carries an attachment."""
    from amends.store import put_tree

    version = tmp_path / "routed"
    shutil.copytree(tiny_version, version)
    (version / "attachments" / "router").mkdir(parents=True)
    (version / "attachments" / "order.json").write_text('["router"]')
    (version / "attachments" / "router" / "table.json").write_text("{}")
    workspace = opened(shell)
    digest = put_tree(workspace.blobs, version)
    with workspace.database.transaction() as connection:
        lineage.add_version(connection, lineage.Version("routed", 1, digest, {"steps": []}))
    return "routed@1"


def test_a_teacher_with_attachments_is_sent_to_the_operation_that_serves_it_whole_before_a_case_is_opened(
    shell, routed, tmp_path
):
    given = ("--teacher", routed, "--text", tmp_path / "light.txt", "--student", "little")
    for method in ("logit", "layers", "on-policy"):
        said = shell("distill", *given, "--method", f"distillation.{method}", as_="Otto")
        assert said.exit_code == 2 and "carries router as well; use distillation.sequence" in said.stderr
    assert shell.json("cases", "list", as_="Otto") == []
    assert shell("distill", *given, "--method", "distillation.sequence", as_="Otto").exit_code == 3
