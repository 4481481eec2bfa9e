"""The audit log: what is written stays, and what was changed is found."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import asdict, replace

import pytest
from sqlalchemy import delete, text, update

from amends.errors import BadInput, Denied, Tampered
from amends.ledger import audit, bundles, checkpoints
from amends.ledger.actions import Action
from amends.ledger.tables import audit as table
from amends.ledger.tables import checkpoints as checkpoint_table
from amends.vault import merkle


def fill(connection, count, start=0):
    drafts = [audit.Draft(f"e-{n}", "p-1", Action.CASE_STARTED, {"n": n}) for n in range(start, start + count)]
    return audit.append_many(connection, drafts)


def unlocked(database, connection):
    """Drop the triggers, as a thief with the database's password would."""
    for verb in ("update", "delete"):
        for name in ("audit", "checkpoints"):
            on = "" if database.is_sqlite else f" ON {name}"
            connection.execute(text(f"DROP TRIGGER {name}_is_kept_{verb}{on}"))


def test_an_entry_is_chained_by_the_hash_of_its_canonical_json(database):
    with database.transaction() as connection:
        first, second = fill(connection, 2)
    by_hand = (
        f'{{"action":"case:work:started","actor":"p-1","at":"{first.at}","body":{{"n":0}},"id":"e-0",'
        f'"previous":"{"0" * 64}","seq":1}}'
    )
    assert first.hash == hashlib.sha256(by_hand.encode()).hexdigest()
    assert second.previous == first.hash


def test_the_same_entry_again_is_the_one_that_exists(database):
    body = {"list": [1, 2.5, None, True], "map": {"ü": "text"}}
    with database.transaction() as connection:
        first = audit.append(connection, id="a", actor="p-1", action=Action.ALIAS_MOVED, body=body)
    with database.transaction() as connection:
        assert audit.append(connection, id="a", actor="p-1", action=Action.ALIAS_MOVED, body=body) == first
        assert audit.head(connection) == (1, first.hash)


def test_the_same_id_with_other_content_is_tampering(database):
    with database.transaction() as connection:
        audit.append(connection, id="a", actor="p-1", action=Action.ALIAS_MOVED, body={"n": 1})
        with pytest.raises(Tampered, match="'a' exists with other content"):
            audit.append(connection, id="a", actor="p-1", action=Action.ALIAS_MOVED, body={"n": 2})


def test_one_batch_may_repeat_itself(database):
    draft = audit.Draft("a", "p-1", Action.ALIAS_MOVED, {"n": (1, 2)})
    with database.transaction() as connection:
        one, two = audit.append_many(connection, [draft, draft])
        assert one == two
        assert audit.verify_chain(connection) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1: 2}, b"bytes", object(), {"a": {"b": {1}}}])
def test_only_plain_json_is_written(database, value):
    with pytest.raises(BadInput, match="an audit entry"), database.transaction() as connection:
        audit.append(connection, id="a", actor="p-1", action=Action.ALIAS_MOVED, body={"value": value})


def test_actions_are_a_vocabulary_of_source_subject_action():
    for action in Action:
        source, subject, verb = action.split(":")
        assert source and subject and verb


@pytest.mark.parametrize("statement", ["UPDATE audit SET actor = 'x'", "DELETE FROM audit", "DELETE FROM checkpoints"])
def test_the_database_refuses_to_change_what_was_written(database, keyring, statement):
    with database.transaction() as connection:
        fill(connection, 3)
        checkpoints.checkpoint(connection, keyring)
    with pytest.raises(Denied, match="append-only"), database.transaction() as connection:
        connection.execute(text(statement))


CHANGES = {
    "a body": update(table).where(table.c.seq == 4).values(body={"n": 99}),
    "an actor": update(table).where(table.c.seq == 4).values(actor="p-2"),
    "a time": update(table).where(table.c.seq == 4).values(at="2020-01-01T00:00:00.000000+00:00"),
    "an entry gone": delete(table).where(table.c.seq == 4),
    "the first gone": delete(table).where(table.c.seq == 1),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_changed_entry_is_named(database, change):
    with database.transaction() as connection:
        fill(connection, 6)
        unlocked(database, connection)
        connection.execute(change)
    expected = "entry 1 " if "seq = 1" in str(change.compile(compile_kwargs={"literal_binds": True})) else "entry 4 "
    with database.read() as connection, pytest.raises(Tampered, match=expected):
        audit.verify_chain(connection)


def test_a_checkpoint_signs_the_root_that_rfc_6962_defines(database, keyring):
    with database.transaction() as connection:
        entries = fill(connection, 7)
        made = checkpoints.checkpoint(connection, keyring)
    assert (made.size, made.root) == (7, merkle.root(bytes.fromhex(entry.hash) for entry in entries).hex())


def test_checkpoints_grow_from_the_one_before(database, keyring):
    with database.transaction() as connection:
        for start in (0, 3, 8):
            fill(connection, 5, start)
            made = checkpoints.checkpoint(connection, keyring)
            leaves = [bytes.fromhex(entry.hash) for entry in audit.entries(connection)]
            assert made.root == merkle.root(leaves).hex()
        assert checkpoints.checkpoint(connection, keyring) == made
        assert checkpoints.verify_checkpoints(connection, keyring.public_keys()) == 3


def test_a_checkpoint_is_not_signed_over_a_changed_entry(database, keyring):
    with database.transaction() as connection:
        fill(connection, 3)
        checkpoints.checkpoint(connection, keyring)
        fill(connection, 3, 3)
        unlocked(database, connection)
        connection.execute(CHANGES["a body"])
        with pytest.raises(Tampered, match="entry 4 "):
            checkpoints.checkpoint(connection, keyring)


def rewrite(connection):
    """Write the whole log anew with a valid chain, as an administrator could."""
    entries = list(audit.entries(connection))
    connection.execute(delete(table))
    drafts = [audit.Draft(entry.id, "somebody else", Action(entry.action), entry.body) for entry in entries]
    audit.append_many(connection, drafts)


ATTACKS = {
    "a full rewrite": rewrite,
    "truncation": lambda connection: connection.execute(delete(table).where(table.c.seq > 4)),
    "another root": lambda connection: connection.execute(update(checkpoint_table).values(root="0" * 64)),
    "another time": lambda connection: connection.execute(update(checkpoint_table).values(at="2020")),
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_what_a_chain_cannot_show_a_signed_root_does(database, keyring, attack):
    with database.transaction() as connection:
        fill(connection, 6)
        checkpoints.checkpoint(connection, keyring)
        unlocked(database, connection)
        attack(connection)
        audit.verify_chain(connection)
        with pytest.raises(Tampered):
            checkpoints.verify_checkpoints(connection, keyring.public_keys())


def test_another_workspaces_key_does_not_verify(database, keyring, tmp_path):
    from amends.vault.keys import Keyring

    stranger = Keyring.create(tmp_path / "stranger")
    with database.transaction() as connection:
        fill(connection, 2)
        checkpoints.checkpoint(connection, keyring)
        with pytest.raises(Tampered, match="not signed by any"):
            checkpoints.verify_checkpoints(connection, stranger.public_keys())


def test_checkpoints_outlive_a_rotation_of_the_key(database, keyring):
    with database.transaction() as connection:
        fill(connection, 2)
        checkpoints.checkpoint(connection, keyring)
        keyring.rotate_signing()
        fill(connection, 2, 2)
        checkpoints.checkpoint(connection, keyring)
        assert checkpoints.verify_checkpoints(connection, keyring.public_keys()) == 2


@pytest.mark.parametrize("seq", [1, 5, 7])
def test_an_entry_is_proved_to_be_under_the_signed_root(database, keyring, seq):
    with database.transaction() as connection:
        fill(connection, 7)
        checkpoints.checkpoint(connection, keyring)
        proof = json.loads(json.dumps(asdict(checkpoints.inclusion(connection, seq))))
    checkpoints.check_inclusion(proof, keyring.public_keys())
    for lie in ({"hash": "0" * 64}, {"seq": seq % 7 + 1}, {"root": "0" * 64}, {"path": proof["path"][1:]}):
        with pytest.raises(Tampered):
            checkpoints.check_inclusion({**proof, **lie}, keyring.public_keys())


def test_an_entry_that_nothing_covers_has_no_proof(database, keyring):
    with database.transaction() as connection:
        fill(connection, 2)
        checkpoints.checkpoint(connection, keyring)
        fill(connection, 1, 2)
        with pytest.raises(BadInput, match="no signed checkpoint covers audit entry 3"):
            checkpoints.inclusion(connection, 3)


@pytest.fixture
def bundle(database, keyring, tmp_path):
    with database.transaction() as connection:
        fill(connection, 9)
        checkpoints.checkpoint(connection, keyring)
        fill(connection, 2, 9)
        bundles.export_bundle(connection, tmp_path / "audit.zip", keyring.public_keys())
    return tmp_path / "audit.zip"


def test_a_bundle_verifies_without_the_database(bundle, keyring):
    report = bundles.verify_bundle(bundle, keyring.public_keys())
    assert (report.entries, report.checkpoints, report.signed) == (11, 1, 9)


def test_nothing_unsigned_is_exported(database, keyring, tmp_path):
    with database.read() as connection, pytest.raises(BadInput, match="nothing of the audit log is signed"):
        bundles.export_bundle(connection, tmp_path / "audit.zip", keyring.public_keys())
    assert not (tmp_path / "audit.zip").exists()


def repack(path, change):
    with zipfile.ZipFile(path) as bundle:
        files = {name: bundle.read(name) for name in bundle.namelist()}
    change(files)
    with zipfile.ZipFile(path, "w") as bundle:
        for name, content in files.items():
            bundle.writestr(name, content)


def without_line(number):
    def change(files):
        lines = files["entries.jsonl"].splitlines(keepends=True)
        files["entries.jsonl"] = b"".join(lines[:number] + lines[number + 1 :])

    return change


FORGERIES = {
    "an entry changed": lambda files: files.update(
        {"entries.jsonl": files["entries.jsonl"].replace(b"p-1", b"p-2", 1)}
    ),
    "an entry gone": without_line(3),
    "the first gone": without_line(0),
    "no checkpoint": lambda files: files.update({"checkpoints.jsonl": b""}),
    "half a line": lambda files: files.update({"entries.jsonl": files["entries.jsonl"][:-40]}),
    "cut below the root": lambda files: files.update(
        {"entries.jsonl": b"".join(files["entries.jsonl"].splitlines(keepends=True)[:5])}
    ),
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES.keys())
def test_a_forged_bundle_is_found_out(bundle, keyring, forge):
    repack(bundle, forge)
    with pytest.raises(Tampered):
        bundles.verify_bundle(bundle, keyring.public_keys())


def test_a_bundle_is_not_believed_for_the_keys_it_brings(database, bundle, keyring, tmp_path):
    from amends.vault.keys import Keyring

    stranger = Keyring.create(tmp_path / "stranger")
    with pytest.raises(Tampered, match="not signed by any"):
        bundles.verify_bundle(bundle, stranger.public_keys())


def test_another_file_is_no_bundle(tmp_path, keyring):
    (tmp_path / "audit.zip").write_text("hello")
    with pytest.raises(BadInput, match="no audit bundle"):
        bundles.verify_bundle(tmp_path / "audit.zip", keyring.public_keys())


def test_a_reader_remembers_how_far_it_came(database):
    with database.transaction() as connection:
        fill(connection, 5)
        assert audit.position(connection, "hooks") == 0
        audit.advance(connection, "hooks", 3)
        audit.advance(connection, "hooks", 4)
        assert [entry.seq for entry in audit.entries(connection, after=audit.position(connection, "hooks"))] == [5]


def test_ten_thousand_entries_are_written_and_verified_in_one_transaction(database):
    with database.transaction() as connection:
        fill(connection, 10_000)
        assert audit.verify_chain(connection) == 10_000


def test_an_entry_that_was_read_hashes_to_itself(database):
    with database.transaction() as connection:
        (entry,) = fill(connection, 1)
        assert audit.get(connection, 1) == entry
    assert audit.hash_of(replace(entry, hash="anything")) == entry.hash
