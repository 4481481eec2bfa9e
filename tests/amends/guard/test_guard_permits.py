"""What a permit is good for: its own call, once, in time, from whom the registry trusts."""

from __future__ import annotations

from datetime import timedelta

import pytest
from guard_permitting import MOVE, alias_of, hand_over, refused
from mlflow.entities.model_registry import ModelVersionTag, RegisteredModelTag
from sqlalchemy import event

from amends.errors import Tampered
from amends.ledger.columns import now
from amends.ledger.guard import open_store, permits
from amends.ledger.guard.permits import Call
from amends.ledger.guard.spent import _SPENT, Spent
from amends.vault.keys import Keyring


def test_a_permit_lets_its_call_through_once_and_is_gone(store, keyring):
    tag = hand_over(store, keyring, MOVE)
    store.set_registered_model_alias("bot", "champion", "2")
    assert alias_of(store) == 2 and store.get_registered_model("bot").tags == {}
    refused(store.set_registered_model_alias, "bot", "champion", "2")
    assert "used before" in refused(store.set_registered_model_tag, "bot", tag)


def test_a_permit_that_was_used_by_one_worker_is_used_for_all(store, keyring):
    tag = hand_over(store, keyring, MOVE)
    other = open_store(f"amends+{store.db_uri}")
    other.set_registered_model_alias("bot", "champion", "2")
    refused(store.set_registered_model_tag, "bot", tag)
    super(type(store), store).set_registered_model_tag("bot", tag)  # as if the first had died before it deleted the tag
    refused(store.set_registered_model_alias, "bot", "champion", "2")


def test_a_worker_that_starts_while_another_makes_the_table_of_used_permits_uses_that(store, keyring):
    _SPENT.drop(store.engine)
    event.listen(_SPENT, "before_create", lambda *_, **__: open_store(f"amends+{store.db_uri}"), once=True)
    Spent(store.engine)
    hand_over(store, keyring, MOVE)
    store.set_registered_model_alias("bot", "champion", "2")
    assert alias_of(store) == 2


@pytest.mark.parametrize(
    "asked",
    [
        ("set_registered_model_alias", ("bot", "champion", "1")),
        ("set_registered_model_alias", ("bot", "canary", "2")),
        ("delete_registered_model_alias", ("bot", "champion")),
        ("delete_model_version", ("bot", "2")),
    ],
)
def test_a_permit_for_another_call_is_good_for_nothing(store, keyring, asked):
    hand_over(store, keyring, MOVE)
    method, arguments = asked
    refused(getattr(store, method), *arguments)
    store.set_registered_model_alias("bot", "champion", "2")  # it is still there for its own


def test_a_permit_binds_the_value_that_is_written(store, keyring):
    call = Call("set_model_version_tag", "bot", "1", "amends.decision", permits.value_of("case-1-promotion-0"))
    hand_over(store, keyring, call)
    refused(store.set_model_version_tag, "bot", "1", ModelVersionTag("amends.decision", "case-2-promotion-0"))
    store.set_model_version_tag("bot", "1", ModelVersionTag("amends.decision", "case-1-promotion-0"))
    assert store.get_model_version("bot", "1").tags == {"amends.decision": "case-1-promotion-0"}


def test_a_permit_for_a_version_binds_its_tags_and_where_its_files_lie(store, keyring):
    tags = {"amends.digest": "d" * 64}
    hand_over(store, keyring, Call("create_model_version", "bot", "", "s3://files/3", permits.value_of(tags)))
    written = [ModelVersionTag("amends.digest", "d" * 64), ModelVersionTag("note", "free")]
    refused(store.create_model_version, "bot", "s3://elsewhere", None, written)
    assert store.create_model_version("bot", "s3://files/3", None, written).version == 3


def test_a_permit_is_refused_when_its_time_is_not_now(store, keyring):
    for expires in (now() - timedelta(seconds=1), now() + timedelta(hours=1)):
        assert "has expired, or two clocks differ" in refused(hand_over, store, keyring, MOVE, expires=expires)
    tag = hand_over(store, keyring, MOVE)
    late = now() + permits.LIFETIME + timedelta(seconds=1)
    with pytest.raises(Tampered, match="has expired"):
        permits.read(tag.key, tag.value, keyring.public_keys(), late)


def test_what_is_no_permit_is_not_taken_for_one(store, keyring, tmp_path):
    stranger = Keyring.create(tmp_path / "stranger")
    assert "not signed by any of these keys" in refused(hand_over, store, stranger, MOVE)
    assert "another model" in refused(hand_over, store, keyring, MOVE, "other")
    key, value = permits.issue(keyring, MOVE)
    assert "under another's name" in refused(
        store.set_registered_model_tag, "bot", RegisteredModelTag(f"{key}0", value)
    )
    for rubbish in ("", "{}", "[]", "null", value[:-9]):
        refused(store.set_registered_model_tag, "bot", RegisteredModelTag(key, rubbish))
    assert store.get_registered_model("bot").tags == {}


def test_permits_that_nobody_used_are_swept_when_the_next_one_comes(store, keyring):
    old = RegisteredModelTag(*permits.issue(keyring, MOVE, expires=now() - timedelta(days=1)))
    super(type(store), store).set_registered_model_tag("bot", old)
    fresh = hand_over(store, keyring, MOVE)
    assert set(store.get_registered_model("bot").tags) == {fresh.key}


def test_the_key_may_be_given_in_the_variable_itself(store, keyring, monkeypatch):
    (pem,) = keyring.public_keys().values()
    monkeypatch.setenv("AMENDS_REGISTRY_KEY", "".join(pem.splitlines()[1:-1]))
    hand_over(store, keyring, MOVE)
    store.set_registered_model_alias("bot", "champion", "2")
    assert alias_of(store) == 2


def test_a_rotated_key_is_trusted_when_its_file_is_there(store, keyring, public_keys):
    keyring.rotate_signing()
    assert "not signed by any of these keys" in refused(hand_over, store, keyring, MOVE)
    keyring.public_directory(public_keys)
    hand_over(store, keyring, MOVE)
    store.set_registered_model_alias("bot", "champion", "2")
    assert alias_of(store) == 2
