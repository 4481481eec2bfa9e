"""Several cases on one model: one Change, the next begins from its result, and one that fails holds nobody up."""

from __future__ import annotations

import pytest

from amends.errors import TaskFailed
from amends.governor.cases import deciding
from amends.governor.cases.viewing import certificate_of
from amends.governor.proof.certificates import verify_certificate
from amends.governor.work.carrying import retry
from amends.ledger import audit, cases, datasets


def certified(story, case):
    files = certificate_of(story.workspace, case.id)
    told = verify_certificate(story.home / "certificates" / files["page"], story.workspace.keyring.public_keys())
    return told["case"], told["guarantee"]


def test_cases_that_wait_are_one_change_and_the_next_begins_from_it(quick, told):
    """Ines and Nadia are erased together; Oskar's case was planned before that and is approved after it."""
    later = quick.request("Oskar Brandt")
    first, second = quick.approved("Ines Varga"), quick.approved("Nadia Feld")
    assert quick.carry(first).status == "sealed" and quick.case(second.id).status == "sealed"
    assert quick.versions() == [(1, "sealed"), (2, "active")]
    assert quick.steps(second.id) == {}  # its lead's journal is its own
    trainings = [entry for entry in quick.audit() if entry.action == "model:version:registered"]
    assert len(trainings) == 2  # the training, and one rebuild for both

    assert quick.approve(later) == 0
    assert quick.carry(later).status == "sealed"
    assert quick.versions() == [(1, "sealed"), (2, "sealed"), (3, "active")]
    assert quick.steps(later.id)["prepare"]["parent"]["version"] == 2
    with quick.workspace.database.read() as connection:
        kept = datasets.find(connection, status="active")
    assert [found.subjects - found.controls for found in kept] == [3]

    assert {case.status for case in quick.purge()} == {"complete"}
    assert quick.versions() == [(1, "purged"), (2, "purged"), (3, "active")]
    for name in ("Ines Varga", "Nadia Feld", "Oskar Brandt"):
        assert told.everywhere(quick.home, name) == []
    assert told.everywhere(quick.home, "Lena Oster")
    assert [certified(quick, case) for case in (first, second, later)] == [
        (case.id, "exact") for case in (first, second, later)
    ]
    with quick.workspace.database.read() as connection:
        audit.verify_chain(connection)


def test_approvals_by_others_make_no_batch(quick, told):
    first, second = quick.review(quick.request()), quick.request("Nadia Feld")
    quick.approve(first, "dora", "max")
    quick.approve(second, "dora", "sven")
    told.set_policy(quick.home, "rules: [")
    with pytest.raises(TaskFailed, match=r"erasure\.yaml, 1:"):
        quick.carry(first)
    assert (quick.case(first.id).status, quick.case(second.id).status) == ("failed", "awaiting approval")


def spoilt(story, case):
    """Let every candidate be denied."""
    file = story.home / "policies" / "erasure.yaml"
    file.write_text(file.read_text().replace(">= 0.0", ">= 2.0").replace("lost too much", "is impossible, it lost"))
    return case


def unreadable(story, case):
    """Damage what a case knows of its subject."""
    with story.workspace.database.transaction() as connection:
        sealed = bytearray(cases.ciphertext(connection, case.id))
        sealed[-1] ^= 1
        cases.set_ciphertext(connection, case.id, bytes(sealed))


@pytest.mark.slow
def test_a_case_that_cannot_go_on_leaves_the_batch_and_the_rest_is_done(quick, told):
    first, second = quick.approved("Ines Varga"), quick.approved("Nadia Feld")
    unreadable(quick, first)  # which leads the batch, so that another has to
    with pytest.raises(TaskFailed, match="do not open with this key"):
        quick.carry(first)
    assert quick.case(first.id).status == "failed" and quick.case(second.id).status == "sealed"
    assert quick.versions() == [(1, "sealed"), (2, "active")]
    assert [case.id for case in quick.purge()] == [second.id]
    assert told.everywhere(quick.home, "Nadia Feld") == []
    assert told.everywhere(quick.home, "Ines Varga")  # nobody could erase her
    with pytest.raises(TaskFailed):
        retry(quick.act("max"), first.id)
    assert quick.case(first.id).status == "failed" and quick.champion().version == 2


@pytest.mark.slow
def test_a_failed_case_begins_from_where_another_left_the_model_and_without_who_was_cancelled(quick, told):
    first, second = quick.approved("Ines Varga"), quick.approved("Nadia Feld")
    with pytest.raises(TaskFailed, match="impossible"):
        quick.carry(spoilt(quick, first))
    assert quick.case(second.id).status == "failed"
    assert deciding.cancel(quick.act("olga"), second.id, "withdrawn").status == "cancelled"
    told.set_policy(quick.home)
    third = quick.approved("Oskar Brandt")
    assert quick.carry(third).status == "sealed"
    assert [case.id for case in quick.purge()] == [third.id]
    assert retry(quick.act("max"), first.id).status == "sealed"
    assert quick.steps(first.id)["prepare"]["parent"]["version"] == 2
    assert [case.id for case in quick.purge()] == [first.id]
    assert quick.versions() == [(1, "purged"), (2, "purged"), (3, "active")]
    assert told.everywhere(quick.home, "Ines Varga") == told.everywhere(quick.home, "Oskar Brandt") == []
    assert told.everywhere(quick.home, "Nadia Feld")
