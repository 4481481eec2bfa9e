"""Incidents through the shell: texts come from files and standard input, and are shown to some roles only."""

from __future__ import annotations

import json

import pytest

from amends.policy import load_policy

STAFF = {"Otto": "operator", "Sven": "safety-engineer", "Ada": "auditor"}
PROMPT, BAD = "Where does Ada live?", "jjjjjjjjjjjj"


@pytest.fixture
def shell(make_shell, tiny_version, tmp_path):
    """Return a shell in a workspace with a tiny model called `assistant`, asked by a scorer that loads nothing."""
    made = make_shell(tmp_path / "home", "Max", **STAFF)
    (tmp_path / "home" / "policies").mkdir()
    text = load_policy("promotion").text.replace("ensemble", "lexical").replace("tokens: 48", "tokens: 12")
    (tmp_path / "home" / "policies" / "promotion.yaml").write_text(text)
    made.json("models", "import", tiny_version / "model", "--name", "assistant", as_="Otto")
    return made


def test_an_incident_is_kept_listed_and_asked(shell, tmp_path):
    (tmp_path / "said.txt").write_text(BAD)
    given = ("incidents", "add", "--model", "assistant", "--prompt", "-", "--bad", tmp_path / "said.txt")
    assert shell.json(*given, as_="Sven", given=PROMPT)["incidents"] == 1
    (row,) = shell.json("incidents", "list", "assistant", as_="Otto")
    assert (row["prompt"], row["bad"], row["expected"], row["form"]) == (PROMPT, BAD, "not-bad", "question")
    found = shell.json("incidents", "run", "assistant@1", as_="Otto", code=1)
    assert (found["asked"], found["relapsed"], found["which"]) == (1, 1, [row["id"]])


def test_a_file_holds_many_and_what_they_say_is_not_shown_to_everybody(shell, tmp_path):
    rows = [{"prompt": PROMPT, "expected": "text:jjj"}, {"prompt": PROMPT, "bad": BAD, "form": "text"}]
    (tmp_path / "many.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = shell.json("incidents", "add", "--model", "assistant", "--file", tmp_path / "many.jsonl", as_="Sven")
    assert made["added"] == made["incidents"] == 2
    told = shell("incidents", "list", "assistant", as_="Ada")
    assert told.exit_code == 0 and PROMPT not in told.stdout and "jjj" not in told.stdout
    assert sorted(row["expected"] for row in shell.json("incidents", "list", "assistant", as_="Ada")) == [
        "not-bad", "text",
    ]  # fmt: skip
    refused = shell("incidents", "add", "--model", "assistant", "--file", tmp_path / "many.jsonl", as_="Ada")
    assert refused.exit_code == 1 and PROMPT not in refused.stderr


def test_a_text_as_an_argument_is_refused_and_not_said_again(shell):
    told = shell("incidents", "add", "--model", "assistant", "--prompt", PROMPT, as_="Sven")
    assert told.exit_code == 2 and "never given as an argument" in told.stderr and PROMPT not in told.stderr
    told = shell("incidents", "add", "--model", "assistant", as_="Sven")
    assert told.exit_code == 2 and "give either --prompt" in told.stderr
    told = shell("incidents", "run", "assistant", as_="Sven")
    assert told.exit_code == 2 and "assistant has no incidents" in told.stderr
