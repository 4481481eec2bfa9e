"""A document that is added again takes its own place: what it no longer says is in no file of the index."""

from __future__ import annotations

import pytest

from amends.ledger import suppression
from amends.vault.subjects import suppression_entries
from amends_rag.building import add_documents, build_index
from amends_rag.chunking import Cut
from amends_rag.live import held
from amends_rag.proof import _rows
from amends_rag.store import Indexes
from amends_rag.workflow import search

LOG = "The mill grinds rye at dawn. The ferry leaves from Brenn at noon. The lamp is lit at dusk."
CHANGED = LOG.replace("The ferry leaves from Brenn", "The barge sails from Tarn")


def read(workspace, name="village"):
    with held(workspace.home, name) as index:
        return {passage.id: passage.text for passage in index.rows.passages}


def everything(workspace, name):
    """Return all words in the files of an index: those of the table through its reader, the others as bytes."""
    files = [file for file in (workspace.home / "indexes" / name).rglob("*") if file.is_file()]
    read = [" ".join(_rows(file)) if file.suffix == ".lance" else file.read_bytes().decode("latin-1") for file in files]
    return " ".join(read).lower()


@pytest.fixture
def log(workspace, documents, tiny_encoder):
    """Return `log(text)`, which puts a document of three short passages into the index `harbour`, anew or again."""

    def put(text):
        file = documents([{"id": "log", "text": text}, {"id": "fog", "text": "The fog came late."}], "log.jsonl")
        if (workspace.home / "indexes").exists():
            return add_documents(workspace, "harbour", [file])
        return build_index(workspace, "harbour", [file], encoder=tiny_encoder, cut=Cut(32, 0))

    return put


def test_a_document_that_changed_says_only_what_it_says_now_in_every_file(workspace, log):
    assert log(LOG).added == 4
    assert "ferry" in everything(workspace, "harbour")
    done = log(CHANGED)
    assert (done.added, done.known, done.fallen, done.passages, done.version) == (1, 3, 1, 4, 2)
    found = everything(workspace, "harbour")
    assert "ferry" not in found and "barge" in found
    assert {"log#0", "log#2", "fog#0"} < read(workspace, "harbour").keys()  # what stays is as it was
    with held(workspace.home, "harbour") as index:
        assert index.lexical.count == 4 and index.tombstones.read() == set()
        assert len(list((index.table.files / "_versions").glob("*.manifest"))) == 1


def erase(workspace, person):
    """Erase somebody from the indexes and keep them away, as a case does."""
    Indexes(workspace).erase(person)
    with workspace.database.transaction() as connection:
        suppression.add(connection, suppression_entries(workspace.keyring, person.identifiers), "c-1")


def test_what_fell_away_can_be_said_again_and_no_two_passages_share_a_number(workspace, log):
    for text in (LOG, CHANGED, LOG, CHANGED, LOG):
        assert log(text).passages == 4
        said = read(workspace, "harbour")
        assert sorted(" ".join(said.values()).split()) == sorted(f"{text} The fog came late.".split())


def test_what_two_documents_say_stays_with_the_one_that_still_says_it(village, documents):
    rye = "Bakers in Oxmoor bake rye before dawn."
    assert add_documents(village, "village", [documents([{"id": "copy", "text": rye}], "copy.jsonl")]).added == 1
    done = add_documents(village, "village", [documents([{"id": "rye", "text": "They bake oats now."}], "rye.jsonl")])
    assert (done.added, done.fallen) == (1, 1)
    assert [id for id, text in read(village).items() if text == rye] == ["copy#0"]


def test_what_two_documents_say_is_found_once_however_much_is_asked_for(village, documents):
    rye = "Bakers in Oxmoor bake rye before dawn."
    add_documents(village, "village", [documents([{"id": "copy", "text": rye}], "copy.jsonl")])
    for k in (1, 3, 99):
        found = [hit.passage.text for hit in search(village, "village", "who bakes rye before dawn?", k)]
        assert len(found) == len(set(found)) == min(k, 5)
    assert len(read(village)) == 6


def test_what_an_erasure_left_of_a_passage_goes_only_with_the_passage(village, documents, disclosed):
    (village.home / "rag.toml").write_text('shared = "rewrite"\n')
    erase(village, disclosed(email="ines.varga@example.org"))
    again = add_documents(village, "village", [documents()])
    assert (again.fallen, again.dropped) == (0, 3)
    assert read(village)["race#0"] == "[redacted] and Tobin Hale won the regatta of 1998."
    rows = [{"id": "race", "text": "Tobin Hale won the regatta of 1999."}]
    assert add_documents(village, "village", [documents(rows, "race.jsonl")]).fallen == 1
    assert not [text for text in read(village).values() if "[redacted]" in text]


def test_what_an_erasure_left_of_a_passage_goes_where_its_document_is_about_somebody_new(village, documents, disclosed):
    (village.home / "rag.toml").write_text('shared = "rewrite"\n')
    erase(village, disclosed(email="ines.varga@example.org"))
    race = "Ines Varga and Tobin Hale won the regatta of 1998."
    rows = [{"id": "race", "text": race, "subjects": ["Tobin Hale", "Mina Ost"]}]
    assert add_documents(village, "village", [documents(rows, "race.jsonl")]).fallen == 1
    assert "race#0" not in read(village)


def about(workspace, row):
    with held(workspace.home, "village") as index:
        return {passage.subjects for passage in index.rows.passages if passage.document == row}


def test_a_document_that_is_about_others_now_is_found_for_them_alone(village, documents, disclosed):
    rye = {"id": "rye", "text": "Bakers in Oxmoor bake rye before dawn."}
    mina, pell = disclosed("Mina Ost"), disclosed("Pell Ostrin")
    told = add_documents(village, "village", [documents([{**rye, "subjects": ["Mina Ost"]}], "a.jsonl")])
    assert (told.added, told.known, told.fallen, told.replaced, told.passages, told.version) == (0, 0, 0, 1, 5, 2)
    assert about(village, "rye") == {(mina.subject.pseudonym,)}
    add_documents(village, "village", [documents([{**rye, "subjects": ["Pell Ostrin"]}], "b.jsonl")])
    assert about(village, "rye") == {(pell.subject.pseudonym,)} and "rye#0" in read(village)
    again = add_documents(village, "village", [documents([{**rye, "subjects": ["Pell Ostrin"]}], "b.jsonl")])
    assert (again.known, again.replaced, again.version) == (1, 0, 3)
    assert not Indexes(village).erase(mina)
    Indexes(village).erase(pell)
    assert "rye#0" not in read(village) and not list(Indexes(village).verify(pell))


def test_whom_the_words_name_is_known_whatever_the_document_says(village, documents, disclosed):
    race = [{"id": "race", "text": "Ines Varga and Tobin Hale won the regatta of 1998."}]
    told = add_documents(village, "village", [documents(race, "race.jsonl")])
    assert (told.known, told.replaced) == (1, 0)
    assert disclosed("Tobin Hale").subject.pseudonym in about(village, "race").pop()


def test_a_document_that_is_about_somebody_erased_now_leaves_the_index(village, documents, disclosed):
    erase(village, disclosed("Mina Ost"))
    rye = {"id": "rye", "text": "Bakers in Oxmoor bake rye before dawn.", "subjects": ["Mina Ost"]}
    told = add_documents(village, "village", [documents([rye], "rye.jsonl")], drop_suppressed=True)
    assert told.dropped == 1 and "rye#0" not in read(village)


def test_somebody_else_who_adds_what_is_there_changes_nothing_and_is_told_so(shell, village, documents):
    changed = documents([{"id": "rye", "text": "They bake oats now."}], "rye.jsonl")
    said = shell("rag", "index", "add", "village", "--documents", changed, as_="Otto")
    assert said.exit_code == 0 and "1 fell away: their documents no longer say them" in said.stdout, said.stderr
    again = shell.json("rag", "index", "add", "village", "--documents", changed, as_="Max")
    assert (again["added"], again["known"], again["fallen"], again["version"]) == (0, 1, 0, 2)
