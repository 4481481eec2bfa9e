"""A frozen index: the same bytes for the same input, and nothing answered where a part does not fit."""

from __future__ import annotations

import numpy as np
import pytest

from amends import BadInput
from amends_rag.chunking import Passage
from amends_rag.dense import open_encoder
from amends_rag.fusion import Fusion
from amends_rag.sentences import Embedded, embed_passages
from amends_rag.snapshot import Settings, build_snapshot, open_snapshot, write_snapshot

ROWS = [
    {"id": "light", "text": "Ada keeps the light. It is white."},
    {"id": "bees", "text": "Tobin keeps bees in Sorrel.", "subjects": ["s_1"]},
    {"id": "rye", "text": "Bakers bake rye before dawn."},
]


@pytest.fixture
def encoder(tiny_encoder):
    return open_encoder(tiny_encoder)


def test_the_same_documents_give_the_same_bytes(encoder, tmp_path):
    for name in ("one", "two"):
        build_snapshot(tmp_path / name, ROWS, encoder=encoder)
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two and len(one) == 5


def test_what_was_written_answers_as_what_was_built(encoder, tmp_path):
    built = build_snapshot(tmp_path, ROWS, encoder=encoder)
    opened = open_snapshot(tmp_path, encoder)
    assert opened.search("rye bread", 3) == built.search("rye bread", 3)
    hit = opened.search("who keeps bees", 1)[0]
    assert hit.passage == Passage("bees#0", "bees", "Tobin keeps bees in Sorrel.", ("s_1",))


def test_the_score_is_the_closed_form_of_its_parts(encoder, tmp_path):
    opened = build_snapshot(tmp_path, ROWS, encoder=encoder, fusion=Fusion(weight=0.5, depth=0))
    dense = opened.vectors @ encoder.embed(["bees"])[0]
    words = opened.lexical.scores("bees")
    by_hand = 0.5 * (dense - dense.mean()) / dense.std() + 0.5 * (words - words.mean()) / words.std()
    found = {hit.passage.document: hit.score for hit in opened.search("bees", 3)}
    assert found == pytest.approx(dict(zip(("light", "bees", "rye"), by_hand.tolist(), strict=True)), rel=1e-4)


def test_a_passage_is_as_near_as_its_nearest_sentence(encoder):
    two = embed_passages(encoder, ["Ada keeps the light. It is white.", "Bees."])
    assert two.offsets.tolist() == [0, 2, 2]
    query = encoder.embed(["It is white."])[0]
    nearest = two.nearest(np.array([0, 1]), query)
    assert nearest[0] == pytest.approx(1, abs=1e-3) and nearest[0] > (two.vectors @ query)[0]
    assert nearest[1] == (two.vectors @ query)[1]


def test_a_text_s_vector_does_not_depend_on_its_neighbours(encoder):
    alone, beside = encoder.embed(["Bees."])[0], encoder.embed(["A much longer text than that of bees.", "Bees."])[1]
    assert (alone == beside).all() and np.linalg.norm(alone) == pytest.approx(1, abs=1e-6)


def test_an_index_of_another_encoder_is_refused(encoder, tmp_path, make_tiny):
    build_snapshot(tmp_path / "index", ROWS, encoder=encoder)
    other = open_encoder(make_tiny(tmp_path / "other", seed=1) / "model")
    with pytest.raises(BadInput, match="give that encoder, or build the index again"):
        open_snapshot(tmp_path / "index", other)


def test_an_encoder_whose_dimension_changed_is_refused(encoder):
    with pytest.raises(BadInput, match="have 7 numbers and those of model 32"):
        Settings(encoder.name, encoder.digest, 7).check(encoder)


def test_nothing_and_broken_vectors_are_refused(encoder, tmp_path):
    settings = Settings.of(encoder)
    with pytest.raises(BadInput, match="no passages to put into an index"):
        write_snapshot(tmp_path, [], np.zeros((0, 32), np.float32), settings)
    with pytest.raises(BadInput, match="are not whole"):
        write_snapshot(tmp_path, [Passage("a#0", "a", "x")], np.full((1, 32), np.nan, np.float32), settings)
    with pytest.raises(BadInput, match="do not fit"):
        Embedded(np.zeros((2, 4), np.float32), np.zeros((1, 4), np.float16), np.array([0, 0, 0]))


@pytest.mark.parametrize("name", ["index.json", "lexical.json", "vectors.safetensors", "passages.jsonl"])
def test_a_broken_file_is_one_sentence(name, encoder, tmp_path):
    build_snapshot(tmp_path, ROWS, encoder=encoder)
    (tmp_path / name).write_bytes(b"\x00nothing")
    with pytest.raises(BadInput, match="no whole index"):
        open_snapshot(tmp_path, encoder)


def test_queries_that_ask_nothing_or_too_much_are_refused(encoder, tmp_path):
    opened = build_snapshot(tmp_path, ROWS, encoder=encoder)
    with pytest.raises(BadInput, match="the query is empty"):
        opened.search("  ")
    with pytest.raises(BadInput, match="has 100000 characters, more than 20000"):
        opened.search("x" * 100_000)
    assert len(opened.search_many(["bees", "rye"], 2)) == 2
