"""A person is erased from every file of an index, and that is shown beside people who are still there."""

from __future__ import annotations

import json
import shutil

import pytest

from amends import BadInput
from amends.governor.data.registering import register_rows
from amends.ledger import datasets
from amends_rag import embedding
from amends_rag.building import add_documents, build_index
from amends_rag.cutting import key_of
from amends_rag.live import held
from amends_rag.proof import prove
from amends_rag.rewriting import read_shared
from amends_rag.store import Indexes
from amends_rag.table import Table

HERS = ("Ines Varga", "ines.varga@example.org")


def read(workspace, name="village"):
    with held(workspace.home, name) as index:
        return {passage.id: passage.text for passage in index.rows.passages}


def files_with(home, words):
    """Return the files of the indexes in which words stand as bytes."""
    files = (file for file in (home / "indexes").rglob("*") if file.is_file())
    return [file.name for file in files if words.lower().encode() in file.read_bytes().lower()]


def test_a_person_is_located_by_text_by_subject_and_by_the_name_of_a_document(village, documents, disclosed):
    assert [(f.place, f.count) for f in Indexes(village).locate(disclosed())] == [("index village", 3)]
    rows = [{"id": "cv-of-ines-varga.pdf", "text": "Seven years at sea."}]
    add_documents(village, "village", [documents(rows, "cv.jsonl")])
    assert sum(found.count for found in Indexes(village).locate(disclosed())) == 4
    assert list(Indexes(village).locate(disclosed("Lena Oster"))) == []
    assert "Varga" not in repr(list(Indexes(village).locate(disclosed())))


@pytest.mark.parametrize("identifiers", [{"name": "VARGA, Ines"}, {"name": "Ines Várga"}])
def test_another_spelling_of_the_same_name_is_the_same_person(village, disclosed, identifiers):
    assert sum(found.count for found in Indexes(village).locate(disclosed(**identifiers))) == 3


def test_erasing_removes_rows_words_and_old_versions_and_others_stay(village, disclosed):
    person = disclosed(email=HERS[1])
    (done,) = Indexes(village).erase(person)
    assert (done.store, done.place, done.count) == ("rag.indexes", "index village", 3)
    assert list(read(village)) == ["bees#0", "rye#0"]
    assert files_with(village.home, "varga") == files_with(village.home, "ilvermoor") == []
    assert files_with(village.home, "oxmoor")  # the list of terms of who is there
    with held(village.home, "village") as index:
        (data,) = index.table.files.rglob("*.lance")
        assert len(list((index.table.files / "_versions").glob("*.manifest"))) == 1
        assert not list(index.table.files.glob("_deletions/*"))
        assert index.card.version == 2
    assert data.stat().st_size > 0
    assert list(Indexes(village).verify(person)) == []
    assert Indexes(village).erase(person) == []  # once more changes nothing


def test_the_proof_has_a_living_person_in_each_kind_of_file(village, disclosed):
    Indexes(village).erase(disclosed(email=HERS[1]))
    told = json.loads((village.home / "indexes" / "village" / "proof.json").read_text())
    kinds = {kind["kind"]: kind for kind in told["kinds"]}
    assert told["left"] == 0 and told["controls"] == 1  # Tobin Hale
    assert {kind for kind, found in kinds.items() if found["claim"] == "absent"} >= {
        "lance", "terms", "json", "jsonl", "safetensors", "binary",
    }  # fmt: skip
    assert kinds["lance"]["controls_seen"] == kinds["terms"]["controls_seen"] == 1


def test_without_anybody_who_is_seen_silence_claims_nothing(village, disclosed, monkeypatch):
    from amends_rag import proof

    person = disclosed(email=HERS[1])
    Indexes(village).erase(person)
    monkeypatch.setattr(proof, "_rows", lambda file: iter(()))  # a reader that sees nothing
    assert [found.count for found in Indexes(village).verify(person)] == [1]


@pytest.mark.parametrize("place", ["left.json", "table/passages.lance/_versions/left.manifest", "embedded/left.bin"])
def test_a_file_that_still_has_the_person_is_found(village, disclosed, place):
    person = disclosed(email=HERS[1])
    Indexes(village).erase(person)
    left = village.home / "indexes" / "village" / place
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(b"\x00\x01" + HERS[1].encode() if left.suffix == ".bin" else HERS[0].encode())
    assert sum(found.count for found in Indexes(village).verify(person)) == 1


def test_a_row_that_was_only_marked_as_deleted_is_found_in_its_file(village, disclosed):
    person = disclosed()
    with held(village.home, "village") as index:
        index.table._open().delete("place IN (0, 2, 4)")  # as LanceDB alone deletes
    with held(village.home, "village") as index:
        assert not any("Varga" in passage.text for passage in index.rows.passages)
        from amends_rag.sought import Sought

        kinds = {kind.kind: kind for kind in prove(village, index, person, Sought(person)).kinds}
    assert kinds["lance"].hits == 3 and kinds["lance"].claim == "found"


@pytest.mark.parametrize("step", ["delete", "compact"])
def test_an_erasure_that_was_killed_halfway_is_ended_by_whoever_opens_the_index(village, disclosed, step, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Table, step, killed)
        with pytest.raises(KeyboardInterrupt):
            Indexes(village).erase(disclosed(email=HERS[1]))
    assert list(read(village)) == ["bees#0", "rye#0"]
    assert files_with(village.home, "varga") == []
    assert list(Indexes(village).verify(disclosed(email=HERS[1]))) == []


def test_what_a_killed_build_left_goes_with_the_first_erasure(village, disclosed):
    left = village.home / "indexes" / "village" / "embedded" / "batch.safetensors"
    left.parent.mkdir()
    left.write_bytes(b"vectors of somebody")
    Indexes(village).erase(disclosed("Lena Oster"))
    assert not left.exists()


def test_a_passage_that_was_erased_while_it_was_embedded_does_not_enter(village, documents, disclosed, monkeypatch):
    embed = embedding.embed_passages

    def erasing_meanwhile(encoder, texts):
        with held(village.home, "village") as index:
            index.tombstones.add([key_of(village, "later", "Ines Varga mends nets.")])
        return embed(encoder, texts)

    monkeypatch.setattr(embedding, "embed_passages", erasing_meanwhile)
    rows = [{"id": "later", "text": "Ines Varga mends nets."}, {"id": "fog", "text": "Fog."}]
    assert add_documents(village, "village", [documents(rows, "later.jsonl")]).added == 1
    assert "fog#0" in read(village) and "later#0" not in read(village)


def test_a_shared_passage_loses_one_name_where_the_workspace_says_so(village, disclosed):
    (village.home / "rag.toml").write_text('shared = "rewrite"\n')
    person = disclosed(email=HERS[1])
    assert sum(found.count for found in Indexes(village).erase(person)) == 3
    assert read(village)["race#0"] == "[redacted] and Tobin Hale won the regatta of 1998."
    assert list(Indexes(village).verify(person)) == []
    assert sum(found.count for found in Indexes(village).locate(disclosed("Tobin Hale"))) == 2
    with held(village.home, "village") as index:
        (row,) = [source for p, source in zip(index.rows.passages, index.rows.sources, strict=True) if p.id == "race#0"]
        assert (row.record, row.dataset) == ("", "")
        assert index.lexical.having("regatta") == [2]  # and can be found


def test_a_mistake_in_the_setting_is_told_and_nothing_is_erased(village, disclosed):
    (village.home / "rag.toml").write_text('shared = "forget"\n')
    with pytest.raises(BadInput, match="has a mistake"):
        Indexes(village).erase(disclosed())
    assert len(read(village)) == 5
    (village.home / "rag.toml").write_text("other = 1\n")
    with pytest.raises(BadInput, match="no setting 'other'"):
        read_shared(village.home)


def test_an_index_follows_what_a_reviewer_did_to_its_records(village, disclosed):
    """A record that a case redacted or erased as a near miss is no longer what the index says."""
    with held(village.home, "village") as index:
        sources = {p.id: s for p, s in zip(index.rows.passages, index.rows.sources, strict=True)}
        digest = index.card.sources[0]
    from amends.governor.data.rows import put_rows, rows_of

    register_rows(village, "pairs", [{"id": "a", "rude": "Oh."}], text_field="rude")  # no passages: nobody reads it
    kept = [row for row in rows_of(village, digest) if row["label"] != "rye#0"]
    for row in kept:
        row["prompt"] = row["prompt"].replace("Tobin Hale keeps", "Somebody keeps")
    again = put_rows(village, kept)
    with village.database.transaction() as connection:
        old = datasets.get(connection, digest)
        datasets.register(
            connection, datasets.Dataset(again, old.name, 4, 2, 0, parent=digest, settings=old.settings), []
        )
        datasets.set_status(connection, digest, "superseded")
    assert sum(found.count for found in Indexes(village).erase(disclosed("Lena Oster"))) == 2
    assert "rye#0" not in read(village) and read(village)["bees#0"] == "Somebody keeps bees in Sorrel."
    with held(village.home, "village") as index:
        now = {p.id: s for p, s in zip(index.rows.passages, index.rows.sources, strict=True)}
        assert now["bees#0"].record == sources["bees#0"].record != ""  # it still stands for its record
        assert index.card.sources == (again,)
    assert sum(found.count for found in Indexes(village).erase(disclosed("Lena Oster"))) == 0


def test_a_restored_workspace_answers_without_those_whom_the_restore_withheld(village, disclosed, shell):
    """A restore writes the data sets without the erased; the copy of the index in the backup has them still."""
    from amends.governor.upkeep.erased import Erased
    from amends.governor.upkeep.withholding import withhold
    from amends.vault import subjects

    entries = subjects.suppression_entries(village.keyring, disclosed(email=HERS[1]).identifiers)
    erased = Erased(tuple((kind, mac, "case") for kind, mac in entries), (), (), (), key_check="")
    withhold(village, erased)
    found = shell.json("rag", "index", "search", "village", "who keeps the light?", "-k", "9")
    assert {hit["id"] for hit in found} == {"bees#0", "rye#0"}
    assert files_with(village.home, "varga") == []


def test_the_last_person_of_an_index_leaves_it_empty_and_answering(village, documents, disclosed, tiny_encoder):
    rows = [{"id": "hers", "text": "Ines Varga sails."}]
    build_index(village, "small", [documents(rows, "small.jsonl")], encoder=tiny_encoder)
    Indexes(village).erase(disclosed())
    with held(village.home, "small") as index:
        assert index.retriever().search("who sails?") == [] and index.card.count == 0
    assert list(Indexes(village).verify(disclosed())) == []
    assert add_documents(village, "small", [documents([{"id": "fog", "text": "Fog."}], "fog.jsonl")]).passages == 1


def test_a_table_elsewhere_is_erased_and_searched_there(village, documents, disclosed, tiny_encoder, tmp_path):
    place = tmp_path / "elsewhere"
    build_index(village, "far", [documents()], encoder=tiny_encoder, uri=str(place))
    person = disclosed(email=HERS[1])
    Indexes(village).erase(person)
    assert list(read(village, "far")) == ["bees#0", "rye#0"]
    (place / "passages.lance" / "left.txn").write_bytes(HERS[0].encode())
    assert [found.place for found in Indexes(village).verify(person)] == ["index far"]


def test_of_an_object_store_nobody_claims_that_its_files_are_empty(
    village, documents, disclosed, tiny_encoder, tmp_path
):
    build_index(village, "far", [documents()], encoder=tiny_encoder, uri=f"file://{tmp_path}/elsewhere")
    person = disclosed(email=HERS[1])
    with pytest.raises(BadInput, match="of deleted files cannot be seen from here; build the index again"):
        Indexes(village).erase(person)
    assert list(read(village, "far")) == ["bees#0", "rye#0"]
    Indexes(village).erase(person)  # the other index too; erasing once more proves no more of the first
    assert [(found.place, found.count) for found in Indexes(village).verify(person)] == [("index far", 1)]
    shutil.rmtree(village.home / "indexes" / "far")
    assert not list(Indexes(village).verify(person))


def test_a_workspace_without_indexes_holds_nobody_and_imports_nothing(workspace, disclosed):
    register_rows(workspace, "other", [{"id": "a", "prompt": "Ines Varga.", "subject": "Ines Varga"}])
    store = Indexes(workspace)
    assert list(store.locate(disclosed())) == store.erase(disclosed()) == list(store.verify(disclosed())) == []
