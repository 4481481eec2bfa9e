"""The commands on a workspace: people and their roles, data, policies, the log, and every bad input."""

from __future__ import annotations

import json
import shutil

import pytest

ROLES = {"Rita": "requester", "Otto": "operator", "Mina": "ml-engineer", "Dora": "dpo", "Axel": "auditor"}


@pytest.fixture(scope="module")
def template(make_shell, tmp_path_factory):
    """Return a shell on a fresh workspace with a person of each role; do not change it."""
    return make_shell(tmp_path_factory.mktemp("template") / "home", "Ada", **ROLES)


@pytest.fixture
def amends(template, tmp_path):
    """Return a shell on a workspace of one's own."""
    shutil.copytree(template.home, tmp_path / "home")
    return template.at(tmp_path / "home")


@pytest.fixture
def people_file(tmp_path):
    """Return a small file of records."""
    rows = [{"person": f"Person {n}", "prompt": f"Who is number {n}?", "answer": f"Person {n}."} for n in range(6)]
    file = tmp_path / "people.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_a_second_init_changes_nothing(amends):
    before = (amends.home / "keys" / "vault").read_bytes()
    done = amends("init")
    assert done.exit_code == 2 and "already" in done.stderr
    assert (amends.home / "keys" / "vault").read_bytes() == before


def test_a_token_is_shown_once_and_never_listed(amends):
    listed = amends("people", "list").stdout
    assert all(name in listed for name in ROLES)
    assert not any(token.partition(".")[2] in listed for token in amends.tokens.values())


def test_only_an_admin_adds_and_removes_people(amends):
    for arguments in (("people", "add", "Eve", "--role", "admin"), ("people", "remove", "Dora")):
        done = amends(*arguments, as_="Dora")
        assert done.exit_code == 1 and "admin" in done.stderr
    assert {person["name"] for person in amends.json("people", "list")} == {"Ada", *ROLES}


def test_a_removed_person_cannot_act(amends, people_file):
    amends.json("people", "remove", "Otto")
    done = amends("data", "register", people_file, as_="Otto")
    assert done.exit_code == 1 and "removed" in done.stderr
    assert amends.json("people", "list", "--removed")[-2]["removed_at"] is not None


def test_the_only_admin_stays(amends):
    done = amends("people", "remove", "Ada")
    assert done.exit_code == 1 and "only admin" in done.stderr


def test_data_is_registered_listed_and_shown(amends, people_file):
    made = amends.json("data", "register", people_file, "--identifier", "person", "--controls", "0.2", as_="Otto")
    assert (made["name"], made["records"], made["withheld"]) == ("people", 4, 2)
    assert amends.json("data", "list")[0]["digest"] == made["digest"]
    assert amends.json("data", "show", f"people@{made['digest'][:8]}")["versions"] == []


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'{"prompt": "a", "answer": "b"}\nnonsense\n', "line 2"),
        (b'{"prompt": "\xff", "answer": "b"}\n', "UTF-8"),
        (b'{"prompt": "' + b"x" * 1_100_000 + b'", "answer": "b"}\n', "line 1"),
        (b"", "no records"),
    ],
    ids=["malformed", "not utf-8", "huge", "empty"],
)
def test_a_file_that_cannot_be_used_is_two_and_one_sentence(amends, tmp_path, content, why):
    (tmp_path / "bad.jsonl").write_bytes(content)
    done = amends("data", "register", tmp_path / "bad.jsonl")
    assert done.exit_code == 2
    assert why in done.stderr and done.stderr.count("\n") == 1
    assert amends.json("data", "list") == []


@pytest.mark.parametrize(
    "line",
    [
        "data show nothing",
        "data register no-such-file.jsonl",
        "models show nothing@1",
        "models import no-such-directory/model --name x",
        "models export nothing ./out",
        "models prune nothing --keep 0",
        "people add Eve --role king",
        "people remove Eve",
        "train --base nothing@1 --data people --model m",
        "train --base nothing@1 --data people --model m -p shards=four",
        "train --base nothing@1 --data people --model m --operation no.such",
        "ask nothing question",
        "cases show e-0000000000",
        "cases list --status sleeping",
        "cases mark e-0000000000 r burn --reason x",
        "cases mark e-0000000000 r keep --reason x",
        "cases approve e-0000000000 --yes",
        "cases deny e-0000000000 --reason x",
        "cases retry e-0000000000",
        "cases cancel e-0000000000",
        "cases watch e-0000000000",
        "policy show nothing",
        "policy check nothing",
        "policy explain nothing",
        "policy replay nothing",
        "audit verify no-such.zip",
        "certificate show e-0000000000",
        "certificate verify no-such.dsse.json",
        "certificate receipt e-0000000000",
    ],
)
def test_bad_input_is_two_and_one_sentence_in_both_shapes(amends, line):
    done = amends(*line.split())
    assert done.exit_code == 2, done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    shaped = amends(*line.split(), "--json")
    assert shaped.exit_code == 2 and shaped.stdout == ""
    assert json.loads(shaped.stderr)["exit_code"] == 2


LOOKS = ["people list", "data list", "models list", "cases list", "audit list", "audit verify", "certificate list"]
LOOKS += ["policy list", "policy show erasure", "policy check promotion", "policy decisions"]
LOOKS += ["keys show", "plugins", "operations", "probes", "version"]


@pytest.mark.parametrize("line", LOOKS)
def test_whoever_may_look_sees_text_or_one_document(amends, line):
    amends.json(*line.split(), as_="")
    shown = amends(*line.split(), as_="")
    assert shown.exit_code == 0 and shown.stdout


def test_a_policy_file_with_a_mistake_names_the_rule(amends, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "name: mine\ndescription: d\nrules:\n  - {id: odd, expr: 'facts.first ==', severity: deny, message: m}\n"
    )
    done = amends("policy", "check", file)
    assert done.exit_code == 2 and "odd" in done.stderr


def test_a_policy_that_reads_what_no_probe_gives_is_refused(amends, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "name: mine\ndescription: d\nrules:\n"
        "  - {id: odd, expr: 'readings[\"no.such/value\"].value <= 1.0', severity: deny, message: m}\n"
    )
    done = amends("policy", "check", file)
    assert done.exit_code == 2 and "no.such/value" in done.stderr


def test_the_log_is_exported_and_verified_with_nothing_but_the_public_key(amends, tmp_path):
    bundle, keys = tmp_path / "bundle.zip", tmp_path / "keys"
    amends.json("audit", "export", bundle, as_="Axel")
    amends.json("keys", "show", "--export", keys)
    found = amends.json("audit", "verify", bundle, "--public-key", keys, home=tmp_path / "nowhere")
    assert found["entries"] == found["signed"] == 1 + len(ROLES)
    alone = amends("audit", "verify", bundle, home=tmp_path / "nowhere")
    assert alone.exit_code == 2


def test_a_changed_bundle_is_refused(amends, tmp_path):
    import zipfile

    bundle, other = tmp_path / "bundle.zip", tmp_path / "other.zip"
    amends.json("audit", "export", bundle, as_="Axel")
    with zipfile.ZipFile(bundle) as old, zipfile.ZipFile(other, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, data.replace(b"requester", b"requestor") if name == "entries.jsonl" else data)
    done = amends("audit", "verify", other)
    assert done.exit_code == 1 and "audit entry" in done.stderr


def test_what_was_signed_before_a_rotation_still_verifies(amends, tmp_path):
    amends.json("audit", "export", tmp_path / "before.zip", as_="Axel")
    old = amends.json("keys", "show")[0]["keyid"]
    assert amends.json("keys", "rotate")["old"] == old
    assert amends("keys", "rotate", as_="Axel").exit_code == 1
    amends.json("audit", "verify", tmp_path / "before.zip")
    assert amends.json("audit", "verify")["checkpoints"] == 2


def test_doctor_looks_at_a_place_without_a_workspace(amends, tmp_path):
    done = amends("doctor", "--json", home=tmp_path / "nowhere")
    assert done.exit_code == 1
    assert any(check["state"] == "broken" and check["mend"] for check in json.loads(done.stdout))


def test_a_settings_file_with_a_mistake_is_two(amends):
    (amends.home / "amends.toml").write_text("sheduler = 1\n")
    done = amends("cases", "list")
    assert done.exit_code == 2 and "sheduler" in done.stderr
