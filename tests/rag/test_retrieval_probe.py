"""What is read of retrieval: ranks of the right passage, and the means that follow."""

from __future__ import annotations

import math

import pytest

from amends import BadInput
from amends_rag.chunking import Passage
from amends_rag.dense import open_encoder
from amends_rag.fusion import Fusion
from amends_rag.measures import retrieval
from amends_rag.ranking import MEASURES, rank_of
from amends_rag.retriever import Hit
from amends_rag.snapshot import build_snapshot

HITS = [Hit(Passage(f"d{n}#0", f"d{n}", f"The words of number {n}."), 1.0 - n, 0.0, 0.0) for n in range(12)]


def test_the_right_passage_is_known_by_id_by_document_or_by_words():
    assert rank_of(HITS, "d2#0") == rank_of(HITS, "d2") == rank_of(HITS, "words  of number 2") == 3
    assert rank_of(HITS, "nowhere") == 0


@pytest.mark.parametrize(
    ("rank", "expected"),
    [
        (1, (1, 1, 1, 1, 1)),
        (3, (0, 1, 1, 1 / 3, 1 / 2)),
        (10, (0, 0, 1, 1 / 10, 1 / math.log2(11))),
        (12, (0, 0, 0, 1 / 12, 0)),
        (0, (0, 0, 0, 0, 0)),
    ],
)
def test_measures_are_their_closed_forms(rank, expected):
    assert tuple(measure(rank) for measure in MEASURES.values()) == pytest.approx(expected)


@pytest.fixture
def grounded(tmp_path, tiny_encoder, monkeypatch):
    """Return a version that carries an index of two passages."""
    rows = [{"id": "light", "text": "Ada keeps the light."}, {"id": "bees", "text": "Tobin keeps bees."}]
    encoder = open_encoder(tiny_encoder)
    build_snapshot(
        tmp_path / "version" / "attachments" / "rag.context", rows, encoder=encoder, fusion=Fusion("lexical")
    )
    monkeypatch.setattr("amends_rag.snapshot.open_encoder", lambda: encoder)
    return tmp_path / "version"


def test_the_probe_reads_every_measure_over_the_version_s_indexes(grounded, probe_task, write_records):
    rows = [
        {"id": "1", "prompt": "Who keeps bees?", "answer": "", "subjects": ["s_1"], "passage": "bees"},
        {"id": "2", "prompt": "Who keeps the light?", "answer": "", "subjects": ["s_2"], "passage": "bees#0"},
        {"id": "3", "prompt": "No passage is named.", "answer": "", "subjects": []},
    ]
    task = probe_task(None)
    task.model_path = grounded
    readings = {reading.name: reading for reading in retrieval.function(task, questions=write_records(rows))}
    assert set(readings) == {f"rag.retrieval/{name}" for name in MEASURES}
    assert readings["rag.retrieval/recall_at_1"].value == 0.5
    assert readings["rag.retrieval/mrr"].value == 0.75 and readings["rag.retrieval/mrr"].n == 2


def test_no_question_gives_no_number_that_a_policy_could_allow(grounded, probe_task, write_records):
    task = probe_task(None)
    task.model_path = grounded
    read = retrieval.function(task, questions=write_records([]))
    assert all(math.isnan(reading.value) for reading in read)


def test_a_version_without_an_index_is_told_so(tmp_path, probe_task, write_records):
    task = probe_task(None)
    task.model_path = tmp_path
    with pytest.raises(BadInput, match="carries no index"):
        retrieval.function(task, questions=write_records([]))
