"""Registered data: found by keyed hashes, forgotten by pseudonym, and kept from coming back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from amends.errors import BadInput, Tampered
from amends.ledger import copies, datasets, decisions, receipts, suppression
from amends.ledger.datasets import Dataset, Membership
from amends.records import RuleAnswer, Verdict

FIRST, SECOND = "a" * 64, "ab" * 32
MEMBERS = [Membership("s_1", 4, False), Membership("s_2", 3, True)]


@pytest.fixture
def registered(database):
    with database.transaction() as connection:
        datasets.register(connection, Dataset(FIRST, "people", 7, 2, 1, settings={"seed": 3}), MEMBERS)
        datasets.add_to_index(connection, [("s_1", "name", "m1"), ("s_1", "email", "m2"), ("s_2", "name", "m1")])
    return database


def test_a_dataset_is_registered_once(registered):
    with registered.transaction() as connection:
        again = datasets.register(connection, Dataset(FIRST, "people", 7, 2, 1), MEMBERS)
        assert (again.settings, again.status) == ({"seed": 3}, "active")
        assert datasets.subjects_of(connection, FIRST) == tuple(MEMBERS)
        with pytest.raises(Tampered, match="other counts"):
            datasets.register(connection, Dataset(FIRST, "people", 8, 2, 1), MEMBERS)


def test_a_name_means_its_newest_active_dataset(registered):
    with registered.transaction() as connection:
        datasets.register(connection, Dataset(SECOND, "people", 4, 1, 0, parent=FIRST), MEMBERS[:1])
        assert datasets.get(connection, "people").digest == SECOND
        assert datasets.get(connection, FIRST).digest == datasets.get(connection, "people@aaa").digest == FIRST
        datasets.set_status(connection, SECOND, "purged")
        assert datasets.get(connection, "people").digest == FIRST
        assert [dataset.digest for dataset in datasets.find(connection, status="active")] == [FIRST]
        for wrong in ("nobody", "people@a", "people@%", "people@ff"):
            with pytest.raises(BadInput, match="no single dataset"):
                datasets.get(connection, wrong)


def test_a_hash_leads_to_everybody_who_has_that_identifier(registered):
    with registered.read() as connection:
        many = [f"unknown-{number}" for number in range(2000)]
        assert datasets.lookup(connection, [*many, "m1", "m2", "m1"]) == {"m1": ("s_1", "s_2"), "m2": ("s_1",)}
        assert datasets.lookup(connection, []) == {}
        assert datasets.macs_of(connection, "s_1") == (("email", "m2"), ("name", "m1"))


def test_a_removed_subject_is_in_no_list(registered):
    with registered.transaction() as connection:
        assert datasets.datasets_of(connection, "s_1") == (FIRST,)
        assert datasets.remove_subject(connection, "s_1") == 3
        assert datasets.remove_subject(connection, "s_1") == 0
        assert datasets.datasets_of(connection, "s_1") == ()
        assert datasets.lookup(connection, ["m1", "m2"]) == {"m1": ("s_2",)}
        assert [member.pseudonym for member in datasets.subjects_of(connection, FIRST)] == ["s_2"]


def test_the_index_takes_the_same_rows_again(registered):
    with registered.transaction() as connection:
        datasets.add_to_index(connection, [("s_1", "name", "m1"), ("s_3", "name", "m1")])
        assert datasets.lookup(connection, ["m1"]) == {"m1": ("s_1", "s_2", "s_3")}


def test_suppressed_identifiers_are_hit_and_others_are_not(database):
    with database.transaction() as connection:
        assert suppression.add(connection, [("name", "m1"), ("email", "m2"), ("name", "m1")], "case-1") == 2
        assert suppression.add(connection, [("name", "m1"), ("phone", "m3")], "case-2") == 1
        assert suppression.hits(connection, ["m0", "m1", "m3"]) == {"m1", "m3"}
        assert suppression.size(connection) == 3


def test_a_receipt_belongs_to_one_certificate(database):
    with database.transaction() as connection:
        for _ in range(2):
            receipts.add(connection, "c" * 64, "case-1", "d" * 64)
        found = receipts.find(connection, "c" * 64)
        assert (found.case_id, found.certificate) == ("case-1", "d" * 64)
        assert receipts.find(connection, "e" * 64) is None
        with pytest.raises(Tampered, match="another certificate"):
            receipts.add(connection, "c" * 64, "case-1", "0" * 64)


def test_a_copy_is_pending_until_it_expires_or_somebody_confirms(database):
    now = datetime.now(UTC)
    with database.transaction() as connection:
        copies.declare(connection, "file", "external", digest="f" * 64, place="people.jsonl")
        copies.declare(connection, "tape", "backup", expires_at=now + timedelta(days=30))
        assert [copy.id for copy in copies.pending(connection)] == ["file", "tape"]
        assert [copy.id for copy in copies.pending(connection, now + timedelta(days=31))] == ["file"]
        done = copies.confirm_deleted(connection, "file", "p-1")
        assert (done.confirmed_by, done.place) == ("p-1", None)
        assert copies.confirm_deleted(connection, "file", "p-2") == done
        for kind, expires_at in (("backup", None), ("rumour", now)):
            with pytest.raises(BadInput):
                copies.declare(connection, "x", kind, expires_at=expires_at)
        with pytest.raises(BadInput, match="no copy 'x'"):
            copies.confirm_deleted(connection, "x", "p-1")


def test_a_decision_can_be_read_back_whole_and_never_changes(database):
    answer = RuleAnswer("recall", "readings['a'].high <= 0.02", "It is forgotten.", "deny", True, "0.01")
    verdict = Verdict(True, "erasure", "e" * 64, (answer,), ("none",))
    given = {"case": "case-1", "policy_text": "rules: []", "inputs": {"a": {"value": 0.01}}, "verdict": verdict}
    with database.transaction() as connection:
        first = decisions.record(connection, "d-1", **given)
        assert decisions.record(connection, "d-1", **given) == first == decisions.get(connection, "d-1")
        assert first.verdict == verdict
        assert decisions.find(connection, "case-1") == (first,)
        with pytest.raises(Tampered, match="says otherwise"):
            decisions.record(connection, "d-1", **{**given, "inputs": {}})
        with pytest.raises(BadInput, match="no decision 'd-2'"):
            decisions.get(connection, "d-2")
