"""Indexes that people build, add to and search; what was interrupted goes on, and what was erased stays away."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from amends import BadInput
from amends.errors import Denied, Suppressed
from amends.governor.data.rows import rows_of
from amends.ledger import audit, datasets
from amends_rag import building, embedding
from amends_rag.building import add_documents, build_index
from amends_rag.exchange import FILE as UNFINISHED
from amends_rag.live import held
from amends_rag.places import names
from amends_rag.store import Indexes
from amends_rag.table import Table
from amends_rag.workflow import search


def passages(workspace, name="village"):
    with held(workspace.home, name) as index:
        return [passage.id for passage in index.rows.passages]


def test_the_command_line_builds_adds_searches_and_tells(shell, documents, tiny_encoder, tmp_path):
    made = shell.json("rag", "index", "build", "village", "--documents", documents(), "--encoder", tiny_encoder,
                      "--fusion", "lexical", as_="Otto")  # fmt: skip
    assert (made["version"], made["added"], made["passages"]) == (1, 5, 5)
    (tmp_path / "news.md").write_text("Regatta: nobody won it in 1999.")
    more = shell.json("rag", "index", "add", "village", "--documents", tmp_path / "news.md", as_="Otto")
    assert (more["version"], more["added"], more["passages"]) == (2, 1, 6)
    first, *_ = shell.json("rag", "index", "search", "village", "who keeps bees?", "-k", "2")
    assert (first["id"], first["text"]) == ("bees#0", "Tobin Hale keeps bees in Sorrel.")
    told = shell.json("rag", "index", "stats", "village")
    assert (told["count"], told["documents"], told["people"], told["erased"]) == (6, 6, 2, 0)
    assert len(told["sources"]) == 2 and told["encoder"]["dimension"] == 32
    (listed,) = shell.json("rag", "index", "list")
    assert listed["manifest"] == told["manifest"] == more["manifest"]


def test_passages_are_records_whose_people_are_known(village):
    with village.database.read() as connection:
        (dataset,) = datasets.find(connection, status="active")
    rows = {row["label"]: row for row in rows_of(village, dataset.digest)}
    assert rows["light#0"]["names"] == ["Ines Varga"]  # by the text alone, since another document is about her
    assert rows["rye#0"]["subjects"] == []
    with held(village.home, "village") as index:
        known = {passage.id: set(passage.subjects) for passage in index.rows.passages}
    assert known == {label: set(row["subjects"]) for label, row in rows.items()}


def test_each_version_is_in_the_log_and_in_mlflow_without_a_word_of_it(village, documents):
    add_documents(village, "village", [documents([{"id": "new", "text": "The mill grinds."}], "new.jsonl")])
    with village.database.read() as connection:
        entries = [entry for entry in audit.entries(connection) if entry.action == "data:index:changed"]
    assert [entry.body["version"] for entry in entries] == [1, 2]
    assert entries[1].body["passages"] == 6 and len(entries[1].body["sources"]) == 2
    experiment = village.registry.client.get_experiment_by_name("amends/indexes").experiment_id
    tags = [run.data.tags["amends.digest"] for run in village.registry.client.search_runs([experiment])]
    assert sorted(tags) == sorted(entry.body["manifest"] for entry in entries)
    assert "Varga" not in json.dumps([entry.body for entry in entries])


def test_what_is_there_is_neither_registered_nor_embedded_again(village, documents, monkeypatch):
    monkeypatch.setattr(embedding, "embed_passages", lambda *_: pytest.fail("embedded again"))
    done = add_documents(village, "village", [documents()])
    assert (done.added, done.known, done.version, done.dataset) == (0, 5, 1, "")


def test_a_killed_build_goes_on_with_what_it_has_embedded(workspace, documents, tiny_encoder, monkeypatch):
    rows = [{"id": f"d{n}", "text": f"Number {n} stands on the list of ships."} for n in range(6)]
    monkeypatch.setattr(embedding, "BATCH", 2)
    counted = []

    def counting(encoder, texts, until=4):
        if len(counted) >= until:
            raise KeyboardInterrupt
        counted.extend(texts)
        return embed(encoder, texts)

    embed = embedding.embed_passages
    monkeypatch.setattr(embedding, "embed_passages", counting)
    with pytest.raises(KeyboardInterrupt):
        build_index(workspace, "ships", [documents(rows)], encoder=tiny_encoder)
    monkeypatch.setattr(embedding, "embed_passages", lambda *a: counting(*a, until=99))
    done = build_index(workspace, "ships", [documents(rows)], encoder=tiny_encoder)
    assert (done.passages, done.version) == (6, 1)
    assert len(counted) == len(set(counted)) == 6  # nothing twice
    assert not (workspace.home / "indexes" / "ships" / "embedded").exists()


def test_an_interrupted_change_is_ended_before_anything_is_answered(village):
    directory = village.home / "indexes" / "village"
    with held(village.home, "village") as index:
        whole = index.lexical.vocabulary
    (directory / UNFINISHED).touch()
    (directory / "lexical.json").write_text('["wrong"]')
    with held(village.home, "village") as index:
        assert index.lexical.vocabulary == whole
    assert not (directory / UNFINISHED).exists()


def test_an_old_copy_of_the_index_brings_nobody_back(village, disclosed, tmp_path):
    directory = village.home / "indexes" / "village"
    shutil.copytree(directory, tmp_path / "copy")
    assert sum(found.count for found in Indexes(village).erase(disclosed(email="ines.varga@example.org"))) == 3
    shutil.rmtree(directory)
    shutil.copytree(tmp_path / "copy", directory)
    assert len(Table(str(directory / "table"), 32).read().passages) == 5  # the copy has her
    assert passages(village) == ["bees#0", "rye#0"]
    with held(village.home, "village") as index:
        assert index.retriever().search("Ines Varga", 5)[0].lexical == 0
    assert not any("Varga" in passage.text for passage in Table(str(directory / "table"), 32).read().passages)


def test_a_table_that_is_gone_or_broken_is_no_index_without_anybody(village, disclosed):
    table = village.home / "indexes" / "village" / "table"
    (data,) = table.rglob("*.lance/data/*.lance")
    data.write_bytes(data.read_bytes()[:40])
    with pytest.raises(BadInput, match="is broken; restore the index from a backup"):
        list(Indexes(village).locate(disclosed()))
    shutil.rmtree(table)
    for ask in (Indexes(village).locate, Indexes(village).erase, Indexes(village).verify):
        with pytest.raises(BadInput, match="bring the table back"):
            list(ask(disclosed()))


def test_an_index_whose_tombstones_are_broken_answers_nobody(village):
    (village.home / "indexes" / "village.tombstones.jsonl").write_text("{oops\n")
    with pytest.raises(BadInput, match="restore it before the index is used"), held(village.home, "village"):
        pass


def test_somebody_who_was_erased_does_not_come_back_with_a_document(village, documents, disclosed):
    from amends.ledger import suppression
    from amends.vault import subjects

    person = disclosed(email="ines.varga@example.org")
    Indexes(village).erase(person)
    with village.database.transaction() as connection:
        suppression.add(connection, subjects.suppression_entries(village.keyring, person.identifiers), "case")
    file = documents([{"id": "again", "text": "Ines Varga is back."}, {"id": "fog", "text": "Fog."}], "again.jsonl")
    with pytest.raises(Suppressed, match="1 records name a person who was erased"):
        add_documents(village, "village", [file])
    assert passages(village) == ["bees#0", "rye#0"]
    done = add_documents(village, "village", [file], drop_suppressed=True)
    assert (done.added, done.dropped) == (1, 1)
    assert add_documents(village, "village", [documents()]).dropped == 3  # the same passages as before


def test_an_encoder_that_changed_under_the_index_is_refused(workspace, documents, make_tiny, tmp_path):
    from amends_rag.dense import model_digest, open_encoder

    encoder = make_tiny(tmp_path / "encoder") / "model"
    build_index(workspace, "village", [documents()], encoder=encoder)
    make_tiny(tmp_path / "encoder", seed=5)
    model_digest.cache_clear(), open_encoder.cache_clear()
    with pytest.raises(BadInput, match="build the index again"):
        add_documents(workspace, "village", [documents([{"id": "n", "text": "New."}], "n.jsonl")])
    with held(workspace.home, "village") as index, pytest.raises(BadInput, match="build the index again"):
        index.retriever().search("bees")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("build", "Big Name", "--documents", "{file}"), "cannot name an index"),
        (("build", "village", "--documents", "{file}"), "there is an index 'village' already"),
        (("build", "other", "--documents", "{file}", "--tokens", "2"), "8 to 4096 tokens"),
        (("build", "other", "--documents", "{file}", "--encoder", "nowhere"), "no sentence encoder in nowhere"),
        (("build", "tobin-hale", "--documents", "{file}"), "the name of the data set names a person"),
        (("add", "village", "--documents", "{new}", "--documents", "{broken}"), "is broken or no PDF"),
        (("add", "nobody", "--documents", "{file}"), "there is no index 'nobody'"),
        (("search", "village", ""), "the query is empty"),
        (("search", "village", "x" * 100_000), "has 100000 characters"),
        (("stats", "../keys"), "cannot name an index"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_changes_nothing(village, shell, documents, arguments, said):
    new, broken = documents([{"id": "new", "text": "The new mill."}], "new.jsonl"), documents(name="broken.pdf")
    given = {"{file}": str(documents()), "{new}": str(new), "{broken}": str(broken)}
    asked = [given.get(part, part) for part in arguments]
    done = shell("rag", "index", *asked, as_="Otto")
    assert done.exit_code == 2 and said in done.stderr, done.stderr
    assert len(passages(village)) == 5 and names(village.home) == ["village"]


def test_an_empty_corpus_makes_no_index(workspace, documents, tiny_encoder):
    with pytest.raises(BadInput, match="there is no text"):
        build_index(workspace, "none", [documents([{"id": "a", "text": " "}])], encoder=tiny_encoder)
    assert build_index(workspace, "none", [documents()], encoder=tiny_encoder).passages == 5  # the name is still free


def test_nobody_signed_in_reads_no_passages(village):
    village.token = ""
    village.__dict__.pop("actor", None)
    with pytest.raises(Denied, match="nobody is signed in"):
        search(village, "village", "who keeps bees?", 2)


def test_nobody_signed_in_builds_nothing(workspace, documents, tiny_encoder):
    workspace.token = ""
    workspace.__dict__.pop("actor", None)
    with pytest.raises(Denied, match="nobody is signed in"):
        build_index(workspace, "village", [documents()], encoder=tiny_encoder)
    assert not (workspace.home / "indexes").exists()


def test_a_large_corpus_is_embedded_on_the_cores_of_ray_and_a_small_one_here(workspace, monkeypatch):
    assert building._cores(workspace, 10**6) == 0  # this workspace runs inline
    workspace.__dict__["settings"] = type("Settings", (), {"scheduler": "ray"})()
    workspace.__dict__["scheduler"] = type(
        "Scheduler", (), {"resources": lambda self: {"cpus": 2.0}, "close": lambda self: None}
    )()
    assert (building._cores(workspace, 10), building._cores(workspace, building.ON_RAY)) == (0, 2)
    del workspace.__dict__["scheduler"]


def test_vectors_of_another_length_or_of_no_numbers_never_enter_the_table(village):
    with held(village.home, "village") as index:
        wrong = index.rows.embedded.vectors[:, :8]
        from amends_rag.sentences import Embedded
        from amends_rag.table import Rows

        rows = Rows(index.rows.passages, index.rows.sources, Embedded.whole(np.ascontiguousarray(wrong)))
        with pytest.raises(BadInput, match="have 8 numbers and those of the index 32"):
            index.table.add(rows)
        nan = Embedded.whole(np.full_like(index.rows.embedded.vectors, np.nan))
        with pytest.raises(BadInput, match="vectors that are no numbers"):
            index.table.add(Rows(index.rows.passages, index.rows.sources, nan))
