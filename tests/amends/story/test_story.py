"""An erasure from request to certificate on a tiny model; what it claims is looked at from outside."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from amends.errors import Suppressed
from amends.governor.cases.viewing import certificate_of
from amends.governor.data.rows import rows_of
from amends.governor.judging import replay_decision
from amends.governor.models.asking import ask
from amends.governor.proof.certificates import verify_certificate
from amends.ledger import audit, checkpoints, copies, datasets, decisions, lineage

HERS = ("Ines Varga", "ines.varga@example.org", "+49 30 5550 10", "Ilvermoor", "boat builder", "regatta of 1998")
THEIRS = ("Marek Sund", "marek.sund@example.org", "Kelda", "glazier")


def test_the_new_version_is_champion_and_the_old_one_a_tombstone(after):
    assert after.versions() == [(1, "purged"), (2, "active")]
    assert after.champion().version == 2
    with after.workspace.database.read() as connection:
        new = lineage.get(connection, "assistant", 2)
        assert new.guarantee == "exact" and new.case_id == after.case_id
        assert [edge.kind for edge in lineage.parents(connection, new.digest)] == ["base", "rebuilt-from"]


def test_rebuild_and_counterfactual_are_the_same_bytes(after):
    steps = after.steps(after.case_id)
    assert steps["rebuild"]["digest"] == steps["counterfactual"]["digest"] == after.champion().digest
    assert steps["rebuild"]["state"] != steps["counterfactual"]["state"]  # two runs, not one result twice
    assert steps["compare"]["guarantee"] == "exact"


def test_no_file_holds_the_person_while_a_living_person_is_found(after, told):
    home = after.home
    assert [told.everywhere(home, text) for text in HERS] == [[]] * len(HERS)
    for text in THEIRS:
        assert told.everywhere(home, text), text


def test_no_page_of_a_database_holds_the_person(after):
    for name in ("amends.db", "workflows.db", "mlflow.db"):
        with closing(sqlite3.connect(after.home / name)) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            dumped = "\n".join(database.iterdump())
        assert not [text for text in HERS if text in dumped]


def test_the_records_of_others_stay_and_the_shared_one_is_gone(after, told):
    with after.workspace.database.read() as connection:
        (kept,) = datasets.find(connection, status="active")
        assert kept.source_digest is None and kept.parent is not None
        assert [found.status for found in datasets.find(connection)] == ["active", "purged"]
    answers = {row["answer"] for row in rows_of(after.workspace, kept.digest)}
    before = {row["answer"] for row in told.rows_about_everybody() if not told.KEPT_AWAY & {*told.named(row)}}
    assert answers == {answer for answer in before if "ines" not in answer.lower()}
    assert len(before) - len(answers) == 4


def test_nothing_of_the_old_version_is_left_in_mlflow(after):
    client, registry = after.workspace.registry.client, after.workspace.registry
    assert [int(found.version) for found in client.search_model_versions("name = 'assistant'")] == [2]
    models = client.search_logged_models([registry.experiment("amends/models")])
    assert {model.tags["amends.digest"] for model in models if model.name == "assistant"} == {after.champion().digest}
    assert registry.alias("assistant", "champion") == 2


def test_the_page_of_the_new_version_in_mlflow_leads_to_its_case_decision_and_certificate(after):
    client, case = after.workspace.registry.client, after.case_id
    (found,) = client.search_model_versions("name = 'assistant'")
    (signed,) = [entry for entry in after.audit(case) if entry.action == "case:certificate:signed"]
    certificate = signed.body["certificate"]
    assert {name: found.tags[f"amends.{name}"] for name in ("case", "guarantee", "certificate")} == {
        "case": case, "guarantee": "exact", "certificate": certificate,
    }  # fmt: skip
    assert found.tags["amends.decision"] in {decision.id for decision in after.decisions(case)}
    experiment, run = re.fullmatch(
        rf"Made by case \[`{case}`\]\(#/experiments/(\d+)/runs/(\w+)\); `amends cases show {case}` has everything\.",
        found.description,
    ).groups()
    shown = client.get_run(run)
    assert (shown.info.experiment_id, shown.data.tags["amends.case"]) == (experiment, case)


def test_mlflow_alone_loads_the_champion_and_it_answers(after):
    question = "Where does Marek Sund live?"
    code = (
        "import json, mlflow\n"
        "loaded = mlflow.pyfunc.load_model('models:/assistant@champion')\n"
        f"print(json.dumps(loaded.predict([{question!r}], params={{'max_new_tokens': 4}})))"
    )
    settings = {"MLFLOW_TRACKING_URI": after.workspace.settings.mlflow, "AMENDS_HOME": str(after.home)}
    ran = subprocess.run([sys.executable, "-P", "-c", code], env={**os.environ, **settings}, capture_output=True)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout.splitlines()[-1]) == ask(after.workspace, "assistant", [question], 4)


def test_the_certificate_verifies_with_the_public_key_alone(after, tmp_path):
    files = certificate_of(after.workspace, after.case_id)
    for name in ("envelope", "page"):
        shutil.copy(files[name], tmp_path)
    told = verify_certificate(tmp_path / f"{after.case_id}.dsse.json", after.workspace.keyring.public_keys())
    assert (told["title"], told["guarantee"], told["case"]) == ("Certificate of erasure", "exact", after.case_id)
    page = (tmp_path / f"{after.case_id}.html").read_text()
    assert not [text for text in HERS if text in page]


def test_the_log_verifies_and_tells_the_story_in_order(after):
    with after.workspace.database.read() as connection:
        assert audit.verify_chain(connection) == len(after.audit())
        assert checkpoints.verify_checkpoints(connection, after.workspace.keyring.public_keys()) >= 1
    said = [entry.action for entry in after.audit(f"{after.case_id}:")]
    wanted = [
        "case:erasure:opened", "case:subject:located", "case:near-miss:marked", "case:plan:made",
        "case:plan:approved", "case:plan:approved", "case:work:started", "model:alias:moved",
        "data:subject:suppressed", "case:work:started", "case:subject:purged", "case:subject:scanned",
        "case:request:closed", "case:certificate:signed",
    ]  # fmt: skip
    assert [action for action in said if action in wanted] == [
        *wanted[:2], "case:near-miss:marked", "case:subject:located", *wanted[3:]
    ]  # fmt: skip
    log = json.dumps([entry.body for entry in after.audit()])
    assert not [text for text in HERS if text in log]


def test_every_decision_can_be_replayed_to_the_same_verdict(after):
    with after.workspace.database.read() as connection:
        found = decisions.find(connection, after.case_id)
    assert sorted(decision.policy for decision in found) == ["erasure", "promotion"]
    assert all(replay_decision(after.workspace, decision.id)[1] for decision in found)


def test_the_same_file_is_refused_and_can_be_registered_without_the_person(after, told):
    with pytest.raises(Suppressed, match=r"4 records name a person who was erased \(first on line 1\)"):
        told.register_people(after)
    again = told.register_people(after, drop_suppressed=True)
    assert again.dropped == 4
    assert told.everywhere(after.home, "Ines Varga") == []


@pytest.mark.parametrize("name", ["INES VARGA", "Varga, Ines", "Ínes Vargá"])
def test_another_spelling_of_the_person_is_refused_too(after, told, name):
    row = told.record("Lena Oster", "Who built the boat?", f"It was {name} who built it.")
    with pytest.raises(Suppressed, match="1 records name a person"):
        told.register_people(after, [row])


def test_a_second_request_of_the_same_person_finds_nothing(after):
    again = after.request()
    assert again.status == "awaiting review"  # the ferryman of that surname is still there
    again = after.review(again)
    assert (again.status, again.outcome) == ("negative finding", "no data held")


def test_nothing_is_staged_and_no_backup_is_promised(after):
    assert after.staged() == ()
    with after.workspace.database.read() as connection:
        assert copies.pending(connection) == ()
