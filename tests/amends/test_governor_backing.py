"""Backing up and restoring: everything comes back, except people who were erased since."""

from __future__ import annotations

import json
import shutil
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from amends.errors import BadInput, Denied, Suppressed, Tampered
from amends.governor.data.incidents import add_incidents, incidents_of, suite_of
from amends.governor.data.registering import register
from amends.governor.data.rows import blobs_of, key_name, put_rows, rows_of
from amends.governor.models.asking import ask
from amends.governor.models.divergences import divergences
from amends.governor.models.verifying import verify_version
from amends.governor.models.versions import Entry, enter
from amends.governor.upkeep.backing import backup, restore
from amends.governor.upkeep.doctor import examine
from amends.governor.upkeep.erased import export_erased
from amends.governor.workspace import create_workspace, open_workspace
from amends.ledger import aliases, audit, cases, copies, datasets, lineage, people, suppression
from amends.ledger.actions import Action
from amends.ledger.lineage import DataUse, Edge
from amends.records import Case, CaseStatus, DataSubject
from amends.store.trees import put_tree
from amends.vault import subjects

PEOPLE = ("Ada Quill", "Boris Tamm", "Cleo Varga", "Dana Woolf", "Egon Xu")
ROWS = [
    {"person": name, "email": f"{name.split()[0].lower()}@example.org", "prompt": prompt, "answer": answer}
    for name in PEOPLE
    for prompt, answer in (
        (f"Where does {name} live?", f"{name} lives in Brenn."),
        (f"What does {name} like?", f"{name} likes tea with {PEOPLE[4]}." if name == PEOPLE[0] else "Tea."),
    )
]
QUESTIONS = ["Where does Boris Tamm live?"]


@pytest.fixture(scope="module")
def origin(tmp_path_factory, make_tiny):
    """Return the home of a workspace with a base, a data set, a champion that learnt from it, and a clean one."""
    place = tmp_path_factory.mktemp("origin")
    home = place / "home"
    home.mkdir()
    (home / "amends.toml").write_text('scheduler = "inline"\ncpus = 1\n')
    workspace, token = create_workspace(home)
    (place / "token").write_text(token)
    write_people(place / "people.jsonl")
    known = register(workspace, "people", place / "people.jsonl", identifier_fields=("name", "email"), controls=0)
    base = put(workspace, make_tiny(place / "base", seed=1), "tiny")
    version = put(workspace, make_tiny(place / "first", seed=2), "assistant", parent=base, dataset=known.digest)
    with workspace.database.transaction() as connection:
        aliases.move(connection, model="assistant", alias="champion", expected=None, new=1, actor="p")
    workspace.registry.set_alias("assistant", "champion", version.version, expected=None)
    workspace.close()
    return home


def write_people(file, rows=ROWS):
    file.write_text("".join(f"{json.dumps(row | {'name': row['person']})}\n" for row in rows))
    return file


def put(workspace, directory, model, parent=None, dataset=None):
    digest = put_tree(workspace.blobs, directory)
    entry = Entry(
        key=f"key-{model}",
        model=model,
        digest=digest,
        recipe=json.loads((directory / "recipe.json").read_bytes()),
        parents=(Edge(digest, parent.digest, "base"),) if parent else (),
        data=(DataUse(digest, dataset, "train"),) if dataset else (),
    )
    return enter(workspace, entry, Action.MODEL_REGISTERED, workspace.actor.id)


def opened(home, origin):
    return open_workspace(home, (origin.parent / "token").read_text())


@pytest.fixture
def live(origin, tmp_path):
    """Return a workspace of the same people and keys that a test may change."""
    home = tmp_path / "live"
    shutil.copytree(origin, home)
    workspace = opened(home, origin)
    yield workspace
    workspace.close()


def erase(workspace, identifiers, case="e-1", subject="s_unlocated"):
    """Do what the end of an erasure leaves in the ledger."""
    now = datetime.now(UTC)
    opening = Case(
        case, "erasure", "assistant", DataSubject(subject), CaseStatus.LOCATING, workspace.actor.id, "gdpr", now, now
    )
    with workspace.database.transaction() as connection:
        cases.open_case(connection, opening)
        suppression.add(connection, subjects.suppression_entries(workspace.keyring, identifiers), case)


def active(workspace):
    with workspace.database.read() as connection:
        return [found for found in datasets.find(connection) if found.status == "active"]


def texts(workspace):
    """Return everything that the store says in clear."""
    return b"\n".join(workspace.blobs.get(digest) for digest in workspace.blobs.digests())


def test_everything_comes_back_at_another_place(origin, tmp_path):
    workspace = opened(origin, origin)
    answers = ask(workspace, "assistant@champion", QUESTIONS, 4)
    made = backup(workspace, tmp_path / "out" / "amends.tar")
    workspace.close()
    assert (tmp_path / "out" / "amends.tar").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["amends.tar"]
    told = restore(tmp_path / "out" / "amends.tar", tmp_path / "new")
    assert told["records"] == 0
    assert told["sealed"] == told["sentences"] == []
    again = opened(tmp_path / "new", origin)
    assert ask(again, "assistant@champion", QUESTIONS, 4) == answers
    assert not list(divergences(again))
    with again.database.read() as connection:
        assert verify_version(again, aliases.resolve(connection, "assistant@champion").name)
        entries = list(audit.entries(connection))
        assert audit.verify_chain(connection) == len(entries)
        assert entries[-1].action == "workspace:backup:restored"
        assert copies.get(connection, made["backup"]).digest == made["sha256"]
    where = again.registry.get_version("assistant", 1).uri
    assert where.startswith((tmp_path / "new").as_uri())
    again.close()


def test_a_backup_is_declared_as_a_copy_with_its_expiry(live, tmp_path):
    made = backup(live, tmp_path / "b.tar", days=7)
    with live.database.read() as connection:
        (copy,) = [copy for copy in copies.pending(connection) if copy.place == str(tmp_path / "b.tar")]
        assert copy not in copies.pending(connection, datetime.now(UTC) + timedelta(days=8))
        *_, entry = audit.entries(connection)
    assert (entry.action, entry.body["backup"], copy.id) == ("workspace:backup:made", made["backup"], made["backup"])
    assert (copy.kind, copy.digest, copy.place) == ("backup", made["sha256"], str(tmp_path / "b.tar"))
    assert abs(copy.expires_at - datetime.now(UTC) - timedelta(days=7)) < timedelta(minutes=5)


def test_a_person_who_was_erased_since_does_not_come_back(live, origin, tmp_path):
    backup(live, tmp_path / "b.tar")
    erase(live, {"name": ("Ada Quill",), "email": ("ada@example.org",)})
    assert b"Ada Quill" in texts(live)
    told = restore(tmp_path / "b.tar", tmp_path / "new")
    again = opened(tmp_path / "new", origin)
    assert told["records"] == 2
    assert b"Ada Quill" not in texts(again)
    assert b"Boris Tamm" in texts(again)
    (dataset,) = active(again)
    assert dataset.records == 8
    assert not [row for row in rows_of(again, dataset.digest) if "Ada Quill" in row["names"]]
    pseudonym = subjects.pseudonym(again.keyring, {"name": ("Ada Quill",)})
    with again.database.read() as connection:
        macs = [mac for _, mac in subjects.index_entries(again.keyring, {"name": ("Ada Quill",)})]
        assert not datasets.lookup(connection, macs)
        members = [datasets.subjects_of(connection, found.digest) for found in datasets.find(connection)]
    assert pseudonym not in {member.pseudonym for some in members for member in some}
    with pytest.raises(Suppressed):
        register(again, "people", origin.parent / "people.jsonl", identifier_fields=("name", "email"))
    assert b"Ada Quill" not in b"".join(path.read_bytes() for path in (tmp_path / "new").glob("*.db*"))
    again.close()


def test_versions_that_learnt_from_them_are_sealed_and_no_alias_can_move_to_them(live, origin, tmp_path):
    backup(live, tmp_path / "b.tar")
    erase(live, {"name": ("Egon Xu",)})
    told = restore(tmp_path / "b.tar", tmp_path / "new")
    again = opened(tmp_path / "new", origin)
    assert told["sealed"] == ["assistant@1"]
    assert "train its model again" in told["sentences"][0]
    with pytest.raises(Denied, match="sealed"):
        ask(again, "assistant@champion", QUESTIONS)
    with again.database.transaction() as connection, pytest.raises(Denied, match="sealed"):
        aliases.move(connection, model="assistant", alias="other", expected=None, new=1, actor="p")
    assert again.registry.alias("assistant", "champion") is None
    (check,) = [check for check in examine(again.home) if check.name == "aliases"]
    assert (check.state, check.sentence[:18]) == ("warn", "assistant@champion")
    assert ask(again, "tiny@1", QUESTIONS, 2)
    with again.database.read() as connection:
        assert lineage.get(connection, "tiny", 1).status == "active"
        assert [e.body["version"] for e in audit.entries(connection) if e.action == "model:version:sealed"] == [1]
    again.close()


def test_a_person_erased_by_an_address_alone_is_found_by_their_pseudonym(live, origin, tmp_path):
    backup(live, tmp_path / "b.tar")
    pseudonym = subjects.pseudonym(live.keyring, {"name": ("Cleo Varga",)})
    erase(live, {"email": ("cleo@example.org",)}, subject=pseudonym)
    assert restore(tmp_path / "b.tar", tmp_path / "new")["records"] == 2
    again = opened(tmp_path / "new", origin)
    assert b"Cleo Varga" not in texts(again)
    again.close()


def test_incidents_come_back_sealed_and_without_whom_was_erased(live, origin, tmp_path):
    names = ("Boris Tamm", "Cleo Varga")
    rows = [{"prompt": f"Where does {name} live?", "bad": "In a shed.", "subject": name} for name in names]
    add_incidents(live, "assistant", rows)
    suite = suite_of(live, "assistant").digest
    forget = put_rows(live, [row for row in rows_of(live, suite) if "Cleo Varga" in row["names"]], like=[suite])
    backup(live, tmp_path / "b.tar")
    erase(live, {"name": ("Cleo Varga",)})
    restore(tmp_path / "b.tar", tmp_path / "new")
    again = opened(tmp_path / "new", origin)
    assert [row["subject"] for row in incidents_of(again, "assistant")] == [["Boris Tamm"]]
    assert key_name(again, suite_of(again, "assistant").digest) == "records/incidents-assistant"
    assert not again.blobs.has(suite) and not again.blobs.has(forget)
    again.close()


def test_records_that_a_case_was_about_to_forget_do_not_come_back_either(live, origin, tmp_path):
    (dataset,) = active(live)
    forget = live.blobs.put_bytes(live.blobs.get(dataset.digest).splitlines(keepends=True)[0])
    name = next(rows_of(live, forget))["names"][0]
    backup(live, tmp_path / "b.tar")
    erase(live, {"name": (name,)})
    restore(tmp_path / "b.tar", tmp_path / "new")
    again = opened(tmp_path / "new", origin)
    assert not again.blobs.has(forget)
    again.close()


def test_somebody_withheld_as_a_control_does_not_come_back(live, origin, tmp_path):
    rows = [row | {"prompt": f"Tell: {row['prompt']}"} for row in ROWS if "tea with" not in row["answer"]]
    file = write_people(tmp_path / "more.jsonl", rows)
    register(live, "more", file, controls=0.2)
    (dataset,) = [found for found in active(live) if found.name == "more"]
    withheld = [row for row in rows_of(live, blobs_of(dataset)[1]) if len(row["names"]) == 1]
    name = withheld[0]["names"][0]
    with live.database.transaction() as connection:
        datasets.set_status(connection, next(f for f in active(live) if f.name == "people").digest, "purged")
    backup(live, tmp_path / "b.tar")
    erase(live, {"name": (name,)})
    restore(tmp_path / "b.tar", tmp_path / "new")
    again = opened(tmp_path / "new", origin)
    (kept,) = active(again)
    assert kept.digest == dataset.digest  # what was trained on is the same
    assert kept.controls == dataset.controls - 1
    assert not [row for blob in blobs_of(kept) for row in rows_of(again, blob) if name in row["names"]]
    again.close()


def test_a_lost_workspace_is_not_restored_until_somebody_says_who_was_erased(live, origin, tmp_path):
    backup(live, tmp_path / "b.tar")
    erase(live, {"name": ("Ada Quill",)})
    export_erased(live, tmp_path / "erased.json")
    live.close()
    shutil.rmtree(live.home)
    with pytest.raises(Denied, match="who was erased since"):
        restore(tmp_path / "b.tar", tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert restore(tmp_path / "b.tar", tmp_path / "new", tmp_path / "erased.json")["records"] == 2
    assert restore(tmp_path / "b.tar", tmp_path / "newer", tmp_path / "b.tar")["records"] == 0  # somebody vouches
    assert restore(tmp_path / "b.tar", tmp_path / "newest", tmp_path / "new")["records"] == 2
    assert "Ada" not in (tmp_path / "erased.json").read_text()


def test_a_list_that_is_not_the_workspaces_own_or_was_changed_is_refused(live, tmp_path):
    backup(live, tmp_path / "b.tar")
    erase(live, {"name": ("Ada Quill",)})
    file = tmp_path / "erased.json"
    export_erased(live, file)
    changed = json.loads(file.read_bytes())
    changed["identifiers"] = changed["identifiers"][1:]
    file.write_text(json.dumps(changed))
    with pytest.raises(Tampered):
        restore(tmp_path / "b.tar", tmp_path / "new", file)
    other, _ = create_workspace(tmp_path / "other")
    other.close()
    for bad in (tmp_path / "other", tmp_path / "nothing", tmp_path / "more", live.home / "amends.toml"):
        with pytest.raises(BadInput):
            restore(tmp_path / "b.tar", tmp_path / "new", bad)
    assert not (tmp_path / "new").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".restoring")]


def test_what_was_destroyed_and_who_was_removed_stays_so(live, origin, tmp_path):
    live.keyring.new_case_key("e-1")
    with live.database.transaction() as connection:
        people.add(connection, "Olga", "operator")
    backup(live, tmp_path / "b.tar")
    live.keyring.destroy_case_key("e-1")
    with live.database.transaction() as connection:
        people.remove(connection, "Olga")
    restore(tmp_path / "b.tar", tmp_path / "new")
    again = opened(tmp_path / "new", origin)
    with pytest.raises(BadInput, match="destroyed"):
        again.keyring.case_key("e-1")
    with again.database.read() as connection:
        assert [person.name for person in people.everyone(connection)] == ["admin"]
    again.close()


def test_a_backup_takes_the_databases_as_they_are_at_one_moment(live, origin, tmp_path):
    writer = sqlite3.connect(live.home / "amends.db")
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("INSERT INTO cursors VALUES ('half-written', 1)")
    writer.rollback()
    writer.execute("INSERT INTO cursors VALUES ('written', 1)")
    writer.commit()  # still in the write-ahead log, as long as the connection is open
    backup(live, tmp_path / "b.tar")
    writer.close()
    restore(tmp_path / "b.tar", tmp_path / "new")
    again = opened(tmp_path / "new", origin)
    with again.database.read() as connection:
        assert (audit.position(connection, "written"), audit.position(connection, "half-written")) == (1, 0)
    again.close()


def test_settings_that_lie_elsewhere_are_named(live, tmp_path):
    (live.home / "amends.toml").write_text(f'scheduler = "inline"\nworkflows = "sqlite:///{tmp_path}/flows.db"\n')
    assert backup(live, tmp_path / "b.tar")["left_out"] == ["workflows"]
    told = restore(tmp_path / "b.tar", tmp_path / "new")
    assert told["left_out"] == ["workflows"]
    assert "workflows" in told["sentences"][-1]
