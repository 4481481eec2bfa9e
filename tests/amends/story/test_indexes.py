"""A person stands in an index and in what a model was trained on: one case erases both, one certificate says so."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from amends.errors import TaskFailed
from amends.governor.cases.viewing import certificate_of
from amends.governor.proof.certificates import verify_certificate
from amends_rag.building import add_documents, build_index
from amends_rag.live import held
from amends_rag.store import Indexes

HERS = ("Ines Varga", "lamp oil", "ines.varga@example.org")
ROWS = (
    {"id": "log", "text": "Ines Varga filled the lamp oil at noon. The fog came late."},
    {"id": "cv-ines-varga", "text": "Seven summers on the ferry."},
    {"id": "mill", "text": "Marek Sund mended the panes of the mill.", "subjects": ["Marek Sund"]},
)


@pytest.fixture
def indexed(quick, tmp_path, tiny_version):
    """Return a story whose people also stand in an index of documents."""
    file = tmp_path / "documents.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    build_index(quick.act("olga"), "handbook", [file], encoder=tiny_version / "model")
    return quick


def test_one_case_erases_the_index_and_the_model_and_one_certificate_says_so(indexed, told):
    case = indexed.approved()
    assert indexed.case(case.id).plan["holds"]["stores"] == {"rag.indexes": 2}
    assert len(indexed.case(case.id).plan["holds"]["datasets"]) == 2  # what was trained on, and the documents
    assert indexed.carry(case).status == "sealed"
    with held(indexed.home, "handbook") as index:
        assert len(index.rows.passages) == 3  # all still answer until the purge is due
    assert [done.status for done in indexed.purge()] == ["complete"]

    with held(indexed.home, "handbook") as index:
        assert [passage.id for passage in index.rows.passages] == ["mill#0"]
    assert indexed.versions() == [(1, "purged"), (2, "active")]
    assert [told.everywhere(indexed.home, text) for text in HERS] == [[], [], []]
    assert told.everywhere(indexed.home, "panes")  # of somebody who is still there
    assert indexed.steps(case.id)["purge:purge"]["stores"] == {"rag.indexes": 2}
    envelope = Path(certificate_of(indexed.workspace, case.id)["envelope"])
    assert verify_certificate(envelope, indexed.workspace.keyring.public_keys())["title"] == "Certificate of erasure"
    assert b"entries of the store rag.indexes" in base64.b64decode(json.loads(envelope.read_bytes())["payload"])
    changed = [entry for entry in indexed.audit() if entry.action == "data:index:changed"]
    assert [(entry.body["version"], entry.body["passages"]) for entry in changed] == [(1, 3), (2, 1)]
    assert not [text for text in HERS if text in json.dumps([entry.body for entry in indexed.audit()])]


@pytest.mark.slow
def test_what_fell_away_from_an_index_is_still_found_where_it_was_registered_and_goes(indexed, told, tmp_path):
    (tmp_path / "log.jsonl").write_text('{"id": "log", "text": "The fog came late."}\n')
    added = add_documents(indexed.act("olga"), "handbook", [tmp_path / "log.jsonl"])
    assert (added.fallen, added.passages) == (1, 3)
    case = indexed.approved()
    assert indexed.case(case.id).plan["holds"]["stores"] == {"rag.indexes": 1}  # the document that her name names
    assert len(indexed.case(case.id).plan["holds"]["datasets"]) == 2  # what was trained on, and what fell away
    assert told.everywhere(indexed.home, "lamp oil")
    indexed.carry(case)
    assert [done.status for done in indexed.purge()] == ["complete"]
    assert told.everywhere(indexed.home, "lamp oil") == []


@pytest.mark.slow
def test_a_purge_that_is_killed_after_the_index_was_erased_certifies_what_went(indexed, told):
    case = indexed.approved()
    indexed.carry(case)
    told.telling.die_at(indexed, case, [["amends.governor.work.purging:_forget_in_ledger", "before"]])
    assert indexed.case(case.id).status == "complete"
    assert indexed.steps(case.id)["purge:purge"]["stores"] == {"rag.indexes": 2}


def test_a_case_does_not_close_while_an_index_still_has_the_person(indexed, monkeypatch):
    case = indexed.approved()
    indexed.carry(case)
    left = indexed.home / "indexes" / "handbook" / "left.json"
    monkeypatch.setattr(Indexes, "erase", lambda self, disclosure: left.write_text(HERS[0]) and [])
    with pytest.raises(TaskFailed, match=r"the store 'rag\.indexes' still holds the subject in 1 places"):
        indexed.purge()
