"""Rotating keys: new signatures under a new key, old ones and old secrets as good as before."""

from __future__ import annotations

import pytest

from amends.errors import Denied, Tampered
from amends.governor.rotating import rotate
from amends.governor.workspace import Workspace
from amends.ledger import audit, checkpoints, people
from amends.vault import signing
from amends.vault.ciphers import seal, unseal


def test_new_signatures_are_under_a_new_key_and_old_ones_still_verify(small_workspace):
    keyring = small_workspace.keyring
    old_envelope = signing.sign(keyring, "text/plain", b"before")
    case_key, secret = keyring.new_case_key("e-1"), b"a secret"
    sealed = seal(case_key, secret, "test")
    pseudonym = keyring.mac("pseudonym", "ada quill")
    told = rotate(small_workspace)
    assert signing.verify(old_envelope, keyring.public_keys()) == b"before"
    new_envelope = signing.sign(keyring, "text/plain", b"after")
    assert [each["keyid"] for each in new_envelope["signatures"]] == [told["new"]]
    assert [each["keyid"] for each in old_envelope["signatures"]] == [told["old"]]
    assert unseal(keyring.case_key("e-1"), sealed, "test") == secret
    assert keyring.mac("pseudonym", "ada quill") == pseudonym


def test_the_log_says_so_and_both_checkpoints_verify(small_workspace):
    told = rotate(small_workspace)
    with small_workspace.database.read() as connection:
        entries = [entry for entry in audit.entries(connection) if entry.action == "workspace:key:rotated"]
        signed = list(checkpoints.every(connection))
        keys = small_workspace.keyring.public_keys()
        assert checkpoints.verify_checkpoints(connection, keys) == told["verified"] == 2
        with pytest.raises(Tampered):
            checkpoints.verify_checkpoints(connection, {told["new"]: keys[told["new"]]})
    assert [entry.body["key"] for entry in entries] == ["signing", "vault"]
    assert [made.envelope["signatures"][0]["keyid"] for made in signed] == [told["old"], told["new"]]
    assert signed[-1].size == entries[-1].seq


def test_keys_can_be_rotated_again(small_workspace):
    first, second = rotate(small_workspace), rotate(small_workspace)
    assert second["old"] == first["new"]
    assert second["verified"] == 4 - 1  # the second closing checkpoint is the first's new one
    assert len(small_workspace.keyring.public_keys()) == 3


def test_only_an_admin_rotates(small_workspace):
    with small_workspace.database.transaction() as connection:
        token = people.add(connection, "Olga", "operator")
    before = small_workspace.keyring.public_keys()
    for bad in (Workspace(small_workspace.home, token), Workspace(small_workspace.home)):
        with pytest.raises(Denied):
            rotate(bad)
    assert small_workspace.keyring.public_keys() == before
