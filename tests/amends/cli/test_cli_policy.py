"""Policies from the command line: linted, tried on a table, and shown with what each alias needs."""

from __future__ import annotations

import json

import pytest

ODD = """name: odd
description: Of no use.
rules:
  - id: always
    severity: deny
    expr: facts.objections >= 0
    message: Never said.
  - id: misspelt
    severity: deny
    expr: facts.objection == 0
    message: Never said either.
"""
TABLE = """cases:
  - {name: fine, expect: allow, facts: {objections: 0}, objections: []}
  - {name: objected, expect: allow, objections: ["No."]}
"""


@pytest.fixture(scope="module")
def amends(make_shell, tmp_path_factory):
    """Return a shell on an empty workspace."""
    return make_shell(tmp_path_factory.mktemp("policies") / "home", "Max")


def test_every_mistake_is_shown_with_its_line_and_column(amends, tmp_path):
    (tmp_path / "odd.yaml").write_text(ODD)
    done = amends("policy", "check", tmp_path / "odd.yaml")
    assert done.exit_code == 2
    assert "6:11" in done.stdout and "10:17" in done.stdout and "did you mean 'objections'" in done.stdout
    assert done.stderr.startswith("error: odd.yaml, 6:11, rule 'always': it holds whatever is read")
    shaped = amends("policy", "check", tmp_path / "odd.yaml", "--json")
    assert shaped.exit_code == 2 and [one["line"] for one in json.loads(shaped.stdout)["findings"]] == [6, 10]
    assert amends.json("policy", "check", "promotion")["findings"] == []


def test_a_table_that_comes_out_otherwise_is_one(amends, tmp_path):
    policy = ODD.replace("objections >= 0", "objections == 0").replace("objection == 0", "objections <= 0")
    (tmp_path / "even.yaml").write_text(policy + "approvals: {count: 0}\n")
    (tmp_path / "cases.yaml").write_text(TABLE)
    done = amends("policy", "test", tmp_path / "even.yaml", "--case", tmp_path / "cases.yaml")
    assert done.exit_code == 1 and "1 of 2 cases come out as expected" in done.stdout
    (tmp_path / "cases.yaml").write_text(TABLE.replace("objected, expect: allow", "objected, expect: deny"))
    rows = amends.json("policy", "test", tmp_path / "even.yaml", "--case", tmp_path / "cases.yaml")["cases"]
    assert [(row["answer"], row["passed"]) for row in rows] == [("allow", True), ("deny", True)]
    assert rows[1]["denied_by"] == ["always", "misspelt", "reviewers"]
    missing = amends("policy", "test", "promotion", "--case", tmp_path / "none.yaml")
    assert missing.exit_code == 2 and "cannot be read" in missing.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["check", "absent.yaml"], "error: absent.yaml cannot be read (No such file or directory); mend or remove it"),
        (["check", "./policies"], "error: policies cannot be read (Is a directory); mend or remove it"),
        (["check", "absent"], "error: there is no policy 'absent'; there are detox, "),
        (["explain", "x-1"], "error: there is neither a case nor a decision 'x-1'; see `amends cases list` and "),
        (["decisions", "--case", "x-1"], "error: there is no case 'x-1'; see amends cases list"),
    ],
    ids=["file", "folder", "name", "explain", "decisions"],
)
def test_what_is_not_there_is_named_in_one_sentence(amends, tmp_path, monkeypatch, arguments, sentence):
    (tmp_path / "policies").mkdir()
    monkeypatch.chdir(tmp_path)
    done = amends("policy", *arguments)
    assert done.exit_code == 2 and done.stderr.startswith(sentence) and done.stderr.count("\n") == 1


def test_a_policy_is_shown_with_what_each_alias_needs(amends):
    assert (
        "approvals for champion: 2 of dpo, ml-engineer, safety-engineer; the first time 0"
        in amends("policy", "show", "promotion").stdout
    )
    shown = amends.json("policy", "show", "promotion")
    assert shown["environments"]["candidate"]["approvals"]["count"] == 1 and shown["reconcile"] == "observe"


def test_what_is_asked_of_no_model_is_bad_input(amends):
    for line in ("promote nothing@1 --to champion", "rollback nothing --reason x", "models history nothing"):
        done = amends(*line.split())
        assert done.exit_code == 2 and done.stderr.count("\n") == 1, line
    assert amends.json("aliases", "check") == {"mode": "observe", "found": []}
