"""Handing a version out: whole, to an empty place, and remembered."""

from __future__ import annotations

import pytest

from amends.errors import BadInput, Denied, DigestMismatch, UnknownModel
from amends.governor.models.exporting import export, place_mac
from amends.governor.workspace import Workspace
from amends.ledger import audit, inventory, lineage, people
from amends.store.trees import fetch_manifest


def recipients(workspace, version):
    with workspace.database.read() as connection:
        return inventory.recipients_of(connection, [version.digest])


def exports(workspace):
    with workspace.database.read() as connection:
        return [entry for entry in audit.entries(connection) if entry.action == "model:version:exported"]


def test_an_export_is_whole_and_is_entered_as_a_recipient(small_workspace, put_version, tmp_path):
    from transformers import AutoModelForCausalLM

    version = put_version(small_workspace, "tiny", 1)
    place = tmp_path / "given" / "away"
    told = export(small_workspace, "tiny@1", place)
    assert AutoModelForCausalLM.from_pretrained(place / "base").config.num_hidden_layers == 2
    assert told["files"] == sum(path.is_file() for path in place.rglob("*"))
    assert [entry.name for entry in place.parent.iterdir()] == ["away"]
    (recipient,) = recipients(small_workspace, version)
    assert recipient.where_digest == place_mac(small_workspace, place) == told["where"]
    (entry,) = exports(small_workspace)
    assert entry.body == {"version": "tiny@1", "digest": version.digest, "where": told["where"]}
    assert str(place) not in f"{recipient}{entry}"


def test_an_export_to_a_place_that_holds_something_is_refused(small_workspace, put_version, tmp_path):
    version = put_version(small_workspace, "tiny", 1)
    place = tmp_path / "mine"
    place.mkdir()
    (place / "thesis.txt").write_text("do not overwrite")
    for bad in (place, place / "thesis.txt", small_workspace.home / "export"):
        with pytest.raises(BadInput):
            export(small_workspace, "tiny@1", bad)
    assert [path.name for path in place.iterdir()] == ["thesis.txt"]
    assert not recipients(small_workspace, version)
    assert not exports(small_workspace)


def test_a_tampered_version_is_not_handed_out(small_workspace, put_version, tmp_path):
    version = put_version(small_workspace, "tiny", 1)
    digest = fetch_manifest(small_workspace.blobs, version.digest).files["model/config.json"].sha256
    (small_workspace.blobs.root / "sha256" / digest[:2] / digest).write_bytes(b"{}")
    with pytest.raises(DigestMismatch):
        export(small_workspace, "tiny@1", tmp_path / "away")
    assert not (tmp_path / "away").exists()
    assert not recipients(small_workspace, version)


def test_who_may_not_export_and_what_may_not_be_exported(small_workspace, put_version, tmp_path):
    put_version(small_workspace, "tiny", 1)
    with small_workspace.database.transaction() as connection:
        token = people.add(connection, "Auden", "auditor")
    with pytest.raises(Denied, match="auditor"):
        export(Workspace(small_workspace.home, token), "tiny@1", tmp_path / "away")
    with small_workspace.database.transaction() as connection:
        lineage.set_status(connection, "tiny", 1, "sealed")
    with pytest.raises(Denied, match="sealed"):
        export(small_workspace, "tiny@1", tmp_path / "away")
    with pytest.raises(UnknownModel):
        export(small_workspace, "nobody@1", tmp_path / "away")
