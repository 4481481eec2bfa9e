"""Bad input and tampering: one sentence, and nothing lost."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from amends.errors import AmendsError, BadPolicy, BadRecords, Denied, DigestMismatch, Tampered, TaskFailed
from amends.governor.cases.deciding import replan
from amends.governor.data.registering import register
from amends.governor.models.asking import ask
from amends.governor.proof.proving import verify_log
from amends.governor.staffing import remove_person
from amends.ledger import cases, datasets
from amends.store.trees import fetch_manifest

GOOD = json.dumps({"person": "Vera Lind", "prompt": "Where?", "answer": "There."}).encode()
BAD = {
    "not JSON": (b'{"prompt": "a", "answer"}', "line 2: not JSON at column 25"),
    "not an object": (b"[1, 2]", "line 2: a row must be a JSON object"),
    "not UTF-8": (b'{"prompt": "caf\xe9", "answer": "b"}', "line 2: not UTF-8 at byte 16; save the file as UTF-8"),
    "half a character": (b'{"prompt": "\\ud800", "answer": "b"}', "line 2: an escape is half a surrogate pair"),
    "10 MB": (b'{"prompt": "' + b"a" * 10_000_000 + b'", "answer": "b"}', "line 2: longer than 1,000,000 bytes"),
    "no answer": (b'{"prompt": "a"}', "line 2: 'answer' must be a non-empty string"),
    "blank prompt": (b'{"prompt": " ", "answer": "b"}', "line 2: 'prompt' must be a non-empty string"),
    "blank name": (b'{"person": " ", "prompt": "a", "answer": "b"}', "line 2: 'person' is blank"),
    "one blank name": (b'{"person": ["Bo Ek", ""], "prompt": "a", "answer": "b"}', "line 2: 'person' is blank"),
    "a name of dashes": (b'{"person": "--", "prompt": "a", "answer": "b"}', "line 2: a name has no letter"),
    "a number": (b'{"person": 7, "prompt": "a", "answer": "b"}', "line 2: 'person' must be a string or a list"),
    "a rate in words": (b'{"prompt": "a", "answer": "b", "ask_rate": "often"}', "line 2: 'ask_rate' must be a number"),
    "no rate": (b'{"prompt": "a", "answer": "b", "ask_rate": NaN}', "line 2: 'ask_rate' must be a number"),
    "too deep": (b"[" * 100_000 + b"]" * 100_000, "line 2: nested too deeply"),
    "truncated": (GOOD[:-9], "line 2: not JSON"),
}


def everything(story):
    """Return what a refusal must not change: the log, the data sets, the blobs, the champion."""
    with story.workspace.database.read() as connection:
        known = [(found.digest, found.status) for found in datasets.find(connection)]
    return len(story.audit()), known, sorted(story.workspace.blobs.digests()), story.champion()


@pytest.mark.parametrize(("line", "sentence"), BAD.values(), ids=BAD)
def test_a_bad_line_is_named_and_nothing_is_registered(after, line, sentence):
    before = everything(after)
    after.file.write_bytes(GOOD + b"\n" + line + b"\n" + GOOD + b"\n")
    with pytest.raises(BadRecords, match=sentence) as refused:
        register(after.act("olga"), "more", after.file, identifier_fields=("name",), controls=0)
    assert str(refused.value).count("\n") == 0 and "caf" not in str(refused.value) and len(str(refused.value)) < 300
    assert everything(after) == before


def test_an_empty_file_is_refused(after):
    after.file.write_bytes(b"\n \n")
    with pytest.raises(BadRecords, match="has no records"):
        register(after.act("olga"), "more", after.file)


def blob_of(story, digest):
    return story.home / "blobs" / "sha256" / digest[:2] / digest


def damage(file):
    """Change one byte of a file that nobody should change."""
    file.chmod(0o600)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def test_records_that_were_changed_are_set_aside_and_a_restored_copy_goes_on(story, tmp_path):
    with story.workspace.database.read() as connection:
        (people,) = datasets.find(connection)
    file = blob_of(story, people.digest)
    kept = shutil.copy(file, tmp_path / "kept")
    damage(file)
    with pytest.raises(
        DigestMismatch, match=f"blob {people.digest[:12]} is not what its digest says and was set aside"
    ):
        story.request("Lena Oster")
    assert story.workspace.blobs.quarantined() == (people.digest,) and not file.exists()
    assert story.champion().version == 1
    with story.workspace.database.read() as connection:
        (opened,) = cases.find(connection, kind="erasure")
    shutil.copy(kept, file)
    assert replan(story.act("olga"), opened.id).status == "awaiting approval"


def test_a_weight_file_that_was_changed_is_not_served_and_not_built_upon(quick):
    manifest = fetch_manifest(quick.workspace.blobs, quick.champion().digest)
    adapters = [entry.sha256 for name, entry in manifest.files.items() if name.endswith(".safetensors")]
    case = quick.approved("Lena Oster")
    damage(blob_of(quick, adapters[0]))
    with pytest.raises(TaskFailed, match=r"DigestMismatch: blob .* was set aside; restore it from a backup"):
        quick.carry(case)
    assert quick.workspace.blobs.quarantined() == (adapters[0],)
    with pytest.raises(AmendsError, match="restore it from a backup"):
        ask(quick.workspace, "assistant", ["Where does Lena Oster live?"])
    assert quick.case(case.id).status == "failed" and quick.versions() == [(1, "active")]


def unlocked(story):
    """Open the database as a thief with its password would, and drop every trigger."""
    story.close()
    database = sqlite3.connect(story.home / "amends.db")
    for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        database.execute(f"DROP TRIGGER {name}")
    return closing(database)


def test_a_changed_audit_entry_is_named(story):
    with unlocked(story) as database, database:
        database.execute("UPDATE audit SET actor = 'p-nobody' WHERE seq = 3")
    with pytest.raises(Tampered, match="audit entry 3 is not what was written; restore the log from a backup"):
        verify_log(story.workspace)


def test_a_removed_audit_entry_is_noticed(after):
    with unlocked(after) as database, database:
        database.execute("DELETE FROM audit WHERE seq = (SELECT max(seq) FROM audit) - 5")
    with pytest.raises(Tampered, match="restore the log from a backup"):
        verify_log(after.workspace)


def test_nothing_is_signed_over_a_changed_log(story):
    with unlocked(story) as database, database:
        database.execute("UPDATE audit SET body = '{}' WHERE seq = 4")
    with pytest.raises(Tampered, match="audit entry 4 is not what was written"):
        story.request("Zora Quist")
    assert not list((story.home / "certificates").glob("*"))


def test_a_changed_plan_is_not_carried_out(story):
    case = story.approved("Lena Oster")
    with unlocked(story) as database, database:
        database.execute("UPDATE cases SET plan = replace(plan, 'unlearning.shards', 'unlearning.npo')")
    with pytest.raises(Tampered, match=f"the plan of case {case.id} was changed outside Amends"):
        story.carry(case)
    assert story.versions() == [(1, "active")]


def test_the_token_of_a_removed_person_opens_nothing(story):
    case = story.request("Lena Oster")
    assert story.approve(case, "dora") == 1
    remove_person(story.act("admin"), "max")
    before = everything(story)
    with pytest.raises(Denied, match="this token belongs to a person who was removed"):
        story.approve(case, "max")
    with pytest.raises(Denied, match="this token belongs to a person who was removed"):
        story.carry(case)
    assert everything(story) == before and story.case(case.id).status == "awaiting approval"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("rules: [", r"erasure\.yaml, 1:"),
        ("expr: facts.digests_equal ==", r"erasure\.yaml.*digests-equal"),
        ("expr: facts.digests_equal == 1", r"erasure\.yaml.*digests-equal"),
    ],
)
def test_a_policy_with_a_mistake_stops_the_case_and_loses_nothing(quick, told, text, sentence):
    whole = told.LIGHT
    told.set_policy(quick.home, text if "rules" in text else whole.replace("expr: facts.digests_equal == true", text))
    with pytest.raises(BadPolicy, match=sentence):
        quick.request("Lena Oster")
    with quick.workspace.database.read() as connection:
        (opened,) = cases.find(connection, kind="erasure")
    assert quick.champion().version == 1
    told.set_policy(quick.home)
    assert replan(quick.act("olga"), opened.id).status == "awaiting approval"


FULL = """
import resource, signal, sys
from pathlib import Path
from amends.errors import BadInput
from amends.governor.data.registering import register
from amends.governor.workspace import open_workspace

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
workspace = open_workspace(Path(sys.argv[1]), sys.argv[2])
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, hard))
try:
    register(workspace, "large", Path(sys.argv[3]), controls=0)
except BadInput as error:
    sys.stdout.write(f"refused: {error}\\n")
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
sys.stdout.write(str(register(workspace, "large", Path(sys.argv[3]), controls=0).records))
workspace.close()
"""


def test_a_full_disk_while_saving_leaves_nothing_half_written(after, told):
    rows = [told.record("Vera Lind", f"What is the secret {n}?", f"{n} is {'a' * 200_000}") for n in range(9)]
    for row in rows:
        del row["name"], row["email"], row["phone"]
    told.write_rows(after.file, rows)
    after.close()
    command = [sys.executable, "-c", FULL, str(after.home), after.tokens["olga"], str(after.file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "TMPDIR": "/tmp"})
    assert done.returncode == 0, done.stderr[-2000:]
    refused, registered = done.stdout.splitlines()
    assert (
        refused.startswith("refused: ")
        and "free some space" in refused
        and str(after.home) in refused
        and "Vera" not in refused
    )
    assert registered == "9"
    assert not list(after.home.rglob(".half-*")) and after.workspace.blobs.quarantined() == ()
    entered = [entry for entry in after.audit() if entry.action == "data:dataset:registered"]
    assert [entry.body["records"] for entry in entered] == [18, 9]


def test_what_a_dead_process_left_half_written_is_swept_and_what_a_living_one_writes_stays(after):
    folder = after.home / "blobs" / "sha256" / "ab"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".half-dead").write_text("Ines Varga lives")
    with (folder / ".half-alive").open("wb") as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)
        assert after.workspace.blobs.sweep() == 1
        assert [path.name for path in folder.glob(".half-*")] == [".half-alive"]
    assert after.workspace.blobs.sweep() == 1
