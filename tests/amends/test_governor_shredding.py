from datetime import UTC, datetime, timedelta

import pytest

from amends.errors import AmendsError
from amends.governor.subjects.disclosing import disclosure_of, seal
from amends.governor.subjects.shredding import shred_due
from amends.ledger import audit, cases, reviews
from amends.records import Case, CaseStatus, DataSubject


@pytest.fixture
def closed(small_workspace):
    workspace, now, subject = small_workspace, datetime.now(UTC), DataSubject("s_1")
    case = Case("e-1", "erasure", "m", subject, CaseStatus.LOCATING, workspace.actor.id, "gdpr", now, now)
    sealed = seal(workspace, "e-1", subject, {"name": ("Ada Sund",)})
    (workspace.home / "cases").mkdir()
    (workspace.home / "cases" / "e-1.needles").write_bytes(b"sealed")
    with workspace.database.transaction() as connection:
        cases.open_case(connection, case, ciphertext=sealed)
        cases.set_status(connection, "e-1", CaseStatus.NEGATIVE, outcome="no data held")
    return workspace


def test_a_case_keeps_its_key_until_its_retention_is_over(closed):
    assert shred_due(closed) == []
    assert disclosure_of(closed, "e-1").values() == ("Ada Sund",)


def test_a_shredded_case_tells_nobody_who_it_was_about_and_says_so_in_the_log(closed):
    later = datetime.now(UTC) + timedelta(days=1096)
    assert shred_due(closed, later) == ["e-1"]
    assert shred_due(closed, later) == []
    assert not list((closed.home / "cases").iterdir())
    with pytest.raises(AmendsError):
        closed.keyring.case_key("e-1")
    with pytest.raises(AmendsError):
        disclosure_of(closed, "e-1")
    with closed.database.read() as connection:
        assert [entry.id for entry in audit.entries(connection)][-1] == "e-1:shredded"
        assert audit.verify_chain(connection)


def test_a_record_on_hold_keeps_the_key(closed):
    with closed.database.transaction() as connection:
        reviews.add_near_misses(connection, "e-1", [("r-1", "0" * 64, 90)])
        reviews.mark_near_miss(connection, "e-1", "r-1", "hold", "a claim is pending", closed.actor.id)
    assert shred_due(closed, datetime.now(UTC) + timedelta(days=1096)) == []
    assert disclosure_of(closed, "e-1").values() == ("Ada Sund",)


def test_unattended_work_shreds_in_the_requester_s_name(closed):
    requester = closed.actor.id
    closed.token = ""
    closed.__dict__.pop("actor", None)
    assert shred_due(closed, datetime.now(UTC) + timedelta(days=1096)) == ["e-1"]
    with closed.database.read() as connection:
        assert [entry.actor for entry in audit.entries(connection)][-1] == requester
