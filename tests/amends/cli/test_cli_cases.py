"""A request from the command line: asked for, reviewed, decided on, and nothing of the person in any process list."""

from __future__ import annotations

import json
import shutil

import pytest

ROLES = {"Rita": "requester", "Otto": "operator", "Mina": "ml-engineer", "Dora": "dpo"}
ADA = "name: Ada Quill\nemail: ada@quill.example\n"
SEARCH_ALONE = """name: finding
description: A search alone is enough.
approvals: {count: 0}
strangers: 9
probes: {unlearning.standing: {}}
rules:
  - id: nobody-objects
    severity: deny
    expr: facts.objections == 0
    message: Somebody objects.
"""


def erase(shell, given=ADA, code=3, **more):
    """Open a request about Ada, or whoever is given."""
    return shell.json("erase", "--model", "assistant", "--subject", "-", given=given, code=code, **more)


def row(person, answer, **more):
    return {"person": person, "prompt": "Where?", "answer": answer, **more}


@pytest.fixture(scope="module")
def template(make_shell, tmp_path_factory):
    """Return a shell on a workspace with data about Ada and others, and a version that learnt from it."""
    place = tmp_path_factory.mktemp("template")
    home = place / "home"
    shell = make_shell(home, "Max", **ROLES)
    rows = [
        row("Ada Quill", "Ada Quill lives in Brenn.", email="ada@quill.example"),
        row("Bo Marsh", "Bo Marsh lives in Sorrel.", email="bo@marsh.example"),
        row("Cy Stone", "Cy Stone and Adda Quil live in Tarn.", email="cy@stone.example"),
    ]
    (place / "people.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    data = shell.json("data", "register", place / "people.jsonl", "--identifier", "email", "--controls", 0, as_="Otto")
    enter_version(home, shell.tokens["Max"], place / "version", data["digest"])
    return shell


def enter_version(home, token, directory, dataset):
    """Enter a version that says it was trained on a data set, and name it champion."""
    from amends.governor.workspace import open_workspace
    from amends.ledger import aliases, lineage
    from amends.ledger.lineage import DataUse, Version
    from amends.records import canonical_json
    from amends.store.trees import put_tree

    step = {"operation": "training.shards", "records": {"records": dataset}, "parameters": {"shards": 1}, "seed": 0}
    recipe = {"schema": 1, "steps": [step]}
    (directory / "attachments" / "shards").mkdir(parents=True)
    (directory / "attachments" / "shards" / "router.json").write_text("{}")
    (directory / "recipe.json").write_bytes(canonical_json(recipe))
    workspace = open_workspace(home, token)
    digest = put_tree(workspace.blobs, directory)
    with workspace.database.transaction() as connection:
        version = Version("assistant", 1, digest, recipe)
        lineage.add_version(connection, version, data=[DataUse(digest, dataset, "train")])
        aliases.move(connection, model="assistant", alias="champion", expected=None, new=1, actor=workspace.actor.id)
    workspace.close()


@pytest.fixture
def amends(template, tmp_path):
    """Return a shell on a workspace of one's own."""
    shutil.copytree(template.home, tmp_path / "home")
    return template.at(tmp_path / "home", "Rita")


@pytest.fixture
def planned(amends):
    """Return the id of a case whose near miss is decided and whose plan waits for approval."""
    opened = erase(amends, as_="Otto")
    for miss in opened["near_misses"]:
        amends.json("cases", "mark", opened["id"], miss["record_id"], "keep", "--reason", "another", as_="Otto")
    return opened["id"]


@pytest.mark.parametrize("subject", ["Ada Quill", "ada@quill.example", "--subject=Ada Quill"])
def test_a_person_in_an_argument_is_refused_and_opens_nothing(amends, subject):
    arguments = [subject] if subject.startswith("--") else ["--subject", subject]
    done = amends("erase", "--model", "assistant", *arguments)
    assert done.exit_code == 2
    assert "process list" in done.stderr and "Quill" not in done.stderr
    assert amends.json("cases", "list") == []


def test_a_person_as_a_further_argument_is_not_repeated(amends):
    done = amends("erase", "--model", "assistant", "--subject", "-", "Ada", "Quill", given=ADA)
    assert done.exit_code == 2 and "Quill" not in done.stderr
    assert amends.json("cases", "list") == []


def test_a_request_waits_and_says_who_has_to_do_what(amends):
    done = amends("erase", "--model", "assistant", "--subject", "-", given=ADA)
    assert done.exit_code == 3
    case = amends.json("cases", "list")[0]["id"]
    assert f"amends cases show {case} --near" in done.stdout
    assert f"amends cases mark {case} " in done.stdout
    assert "Quill" not in done.output


def test_near_misses_are_shown_on_demand_to_those_who_decide(amends):
    case = erase(amends)["id"]
    assert "Adda" not in amends("cases", "show", case, as_="Dora").stdout
    assert "Adda Quil live in Tarn" in amends("cases", "show", case, "--near", as_="Dora").stdout
    refused = amends("cases", "show", case, "--near", as_="Rita")
    assert refused.exit_code == 1 and "Adda" not in refused.output


def test_the_last_mark_makes_a_plan_in_plain_words(amends, planned):
    shown = amends("cases", "show", planned).stdout
    assert "awaiting approval" in shown
    assert "guarantee exact" in shown and "held by: assistant@1" in shown
    view = amends.json("cases", "show", planned)
    assert view["missing_approvals"] == 2
    assert f"amends cases approve {planned} --plan {view['plan_digest'][:12]}" in shown
    assert "Quill" not in shown


def test_a_dpo_reviews_what_somebody_else_asked_for(amends):
    opened = erase(amends, as_="Rita")
    for miss in opened["near_misses"]:
        marked = amends.json(
            "cases", "mark", opened["id"], miss["record_id"], "erase", "--reason", "it is Ada", as_="Dora"
        )
    assert marked["status"] == "awaiting approval"


@pytest.mark.parametrize("role", ["Rita", "Mina"])
def test_only_a_dpo_or_operator_marks(amends, role):
    opened = erase(amends)
    record = opened["near_misses"][0]["record_id"]
    assert amends("cases", "mark", opened["id"], record, "keep", "--reason", "x", as_=role).exit_code == 1


def test_who_asked_cannot_approve_and_nobody_twice(amends, planned):
    assert amends("cases", "approve", planned, "--yes", as_="Otto").exit_code == 1
    assert amends.json("cases", "approve", planned, "--yes", as_="Dora")["missing_approvals"] == 1
    again = amends.json("cases", "approve", planned, "--yes", as_="Dora")
    assert again["missing_approvals"] == 1 and len(again["approvals"]) == 1


def test_an_approval_of_another_plan_is_refused(amends, planned):
    done = amends("cases", "approve", planned, "--plan", "0123abcd", "--yes", as_="Dora")
    assert done.exit_code == 1 and "read it again" in done.stderr
    assert amends.json("cases", "show", planned)["approvals"] == []


@pytest.mark.parametrize(("answer", "code", "count"), [("y\n", 0, 1), ("n\n", 1, 0), ("", 2, 0)])
def test_an_approval_asks_after_showing_the_plan(amends, planned, answer, code, count):
    done = amends("cases", "approve", planned, as_="Dora", given=answer)
    assert done.exit_code == code
    assert "guarantee exact" in done.stderr
    assert len(amends.json("cases", "show", planned)["approvals"]) == count


def test_an_approval_in_json_is_never_asked_for(amends, planned):
    done = amends("cases", "approve", planned, "--json", as_="Dora", given="y\n")
    assert done.exit_code == 2 and "--yes" in json.loads(done.stderr)["error"]


def test_a_denial_needs_a_reason_and_ends_the_case(amends, planned):
    assert amends("cases", "deny", planned, as_="Dora").exit_code == 2
    denied = amends.json("cases", "deny", planned, "--reason", "17(3)(b)", as_="Dora")
    assert (denied["status"], denied["outcome"], denied["reason"]) == ("refused", "refused", "17(3)(b)")
    assert denied["days_left"] is None


def test_a_clock_is_extended_with_a_reason_and_a_notice(amends, planned):
    before = amends.json("cases", "show", planned)["due_at"]
    amends("cases", "extend", planned, "--reason", "many requests", "--notice-sent-at", "now", as_="Dora")
    assert amends.json("cases", "show", planned)["due_at"] == before
    from datetime import UTC, datetime

    sent = datetime.now(UTC).isoformat()
    longer = amends.json("cases", "extend", planned, "--reason", "many", "--notice-sent-at", sent, as_="Dora")
    assert longer["due_at"] > before and len(longer["extensions"]) == 1


def test_a_cancelled_case_has_ended(amends, planned):
    assert amends.json("cases", "cancel", planned)["status"] == "cancelled"
    assert amends("cases", "approve", planned, "--yes", as_="Dora").exit_code == 1


def test_cases_are_listed_by_who_and_where_they_stand(amends, planned):
    listed = amends.json("cases", "list")
    assert listed[0]["missing_approvals"] == 2 and 20 < listed[0]["days_left"] < 35
    assert amends.json("cases", "list", "--mine", as_="Dora") == []
    assert [case["id"] for case in amends.json("cases", "list", "--mine", as_="Otto")] == [planned]
    assert amends.json("cases", "list", "--status", "complete") == []
    assert amends.json("cases", "list", "--model", "other") == []


def test_an_old_request_is_late(amends):
    opened = amends.json(
        "erase", "--model", "assistant", "--subject", "-", "--received-at", "2026-01-31T09:00:00+01:00",
        given=ADA, code=3,
    )  # fmt: skip
    assert opened["due_at"].startswith("2026-03-02") and opened["urgency"] == "late"
    assert "days late" in amends("cases", "list").stdout


@pytest.mark.parametrize(
    "options",
    [
        ["--ground", "17(9)"],
        ["--regime", "lgpd"],
        ["--jurisdiction", "ATLANTIS"],
        ["--received-at", "2026-01-31"],
        ["--received-at", "2999-01-31T09:00:00Z"],
    ],
    ids=" ".join,
)
def test_a_request_that_lacks_something_is_two(amends, options):
    done = amends("erase", "--model", "assistant", "--subject", "-", *options, given=ADA)
    assert done.exit_code == 2 and done.stderr.count("error: ") == 1


def test_watching_a_case_that_waits_returns_at_once_with_three(amends, planned):
    done = amends("cases", "watch", planned)
    assert done.exit_code == 3
    assert "case:plan:made by Otto" in done.stderr


def test_working_with_nothing_approved_changes_nothing(amends, planned):
    assert {row["kind"] for row in amends.json("work", as_="Otto")} == {"reconciliation"}  # MLflow has none of it
    assert amends.json("work", as_="") == []
    assert amends.json("cases", "show", planned)["status"] == "awaiting approval"


def test_a_negative_finding_is_signed_and_its_receipt_fits_its_holder_alone(amends):
    (amends.home / "policies").mkdir(exist_ok=True)
    (amends.home / "policies" / "finding.yaml").write_text(SEARCH_ALONE)  # this version has no weights to ask
    found = erase(amends, given="name: Zoë Nobody\nemail: zoe.otter51@example.org", code=0)
    assert found["status"] == "negative finding"
    envelope = found["certificate"]["envelope"]
    assert "no data held" in amends.json("certificate", "verify", envelope)["title"]
    nonce = amends.json("certificate", "receipt", found["id"])["receipt"]
    assert amends("certificate", "receipt", found["id"]).exit_code == 2
    check = ("certificate", "receipt", found["id"], "--check")
    assert amends.json(*check, given=f"receipt: {nonce}\nname: Zoë Nobody")["matches"]
    assert amends(*check, given=f"receipt: {nonce}\nname: Ada Quill").exit_code == 1
    assert amends(*check, given="name: Zoë Nobody").exit_code == 2


def test_a_case_that_waits_or_was_refused_has_a_report_that_is_no_certificate(amends, planned, tmp_path):
    waiting = amends("cases", "report", planned)
    assert waiting.exit_code == 0 and waiting.stdout.startswith("<!doctype html>")
    assert "This is a report of the case as it stands, and no certificate." in waiting.stdout
    assert f"amends cases approve {planned}" in waiting.stdout and "Nothing is decided yet." in waiting.stdout
    amends.json("cases", "deny", planned, "--reason", "17(3)(b)", as_="Dora")
    written = amends.json("cases", "report", planned, "--output", tmp_path / "report.html")
    assert written == {"case": planned, "is_signed": False, "file": str(tmp_path / "report.html")}
    page = (tmp_path / "report.html").read_text()
    assert "The request was refused. The model was not changed." in page and "17(3)(b)" in page
    assert "has to be told of it, with the reason" in page


def test_the_report_of_a_finding_is_its_signed_page(amends):
    (amends.home / "policies").mkdir(exist_ok=True)
    (amends.home / "policies" / "finding.yaml").write_text(SEARCH_ALONE)
    found = erase(amends, given="name: Zoë Nobody\nemail: zoe.otter51@example.org", code=0)
    report = amends.json("cases", "report", found["id"])
    assert report["is_signed"]
    with open(found["certificate"]["page"], encoding="utf-8") as page:
        assert report["page"] == page.read()


def test_a_report_is_for_those_who_answer_or_audit_and_goes_where_it_can_be_written(amends, planned, tmp_path):
    refused = amends("cases", "report", planned, as_="Mina")
    assert refused.exit_code == 1 and "Mina is ml-engineer" in refused.stderr and not refused.stdout
    nowhere = amends("cases", "report", planned, "--output", tmp_path / "nowhere" / "report.html")
    assert nowhere.exit_code == 2 and "name another place" in nowhere.stderr
    assert amends("cases", "report", "e-none").exit_code == 2


def test_a_request_that_leaves_nothing_to_ask_the_model_waits_and_says_the_way_out(amends):
    found = erase(amends, given="Zoë Nobody")
    assert (found["status"], found["certificate"]) == ("awaiting review", None)
    assert "Nobody" not in found["reason"]
    assert "a name and an e-mail address or phone number are needed" in found["reason"]
    shown = amends("cases", "show", found["id"])
    assert shown.exit_code == 0 and f"amends cases cancel {found['id']}" in shown.stdout
    assert amends.json("cases", "cancel", found["id"])["status"] == "cancelled"


def test_nothing_of_the_person_is_in_the_log_or_the_document(amends, planned):
    said = amends("audit", "list", "--json").stdout + amends("cases", "show", planned, "--json").stdout
    said += amends("cases", "report", planned).stdout
    assert "Quill" not in said and "quill" not in said
