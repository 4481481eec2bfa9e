"""A cross-encoder ranks the best passages again, only where one is asked for, and only the one that is meant."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from amends import BadInput
from amends_rag.dense import model_digest, open_encoder
from amends_rag.reranking import Rerank, Reranker, chosen, open_reranker, pinned
from amends_rag.snapshot import build_snapshot, open_snapshot

ROWS = [
    {"id": "light", "text": "Ada keeps the light. It is white."},
    {"id": "bees", "text": "Tobin keeps bees in Sorrel."},
    {"id": "rye", "text": "Bakers bake rye before dawn."},
]


@pytest.fixture
def encoder(tiny_encoder):
    return open_encoder(tiny_encoder)


def test_the_best_are_in_the_order_of_the_cross_encoder_s_scores(encoder, cross_encoder, tmp_path):
    reranker = Reranker(cross_encoder)
    plain = build_snapshot(tmp_path / "plain", ROWS, encoder=encoder)
    ranked = build_snapshot(tmp_path / "ranked", ROWS, encoder=encoder, reranker=reranker)
    for query in ("who keeps bees?", "when is bread baked?"):
        texts = [hit.passage.text for hit in plain.search(query, 3)]
        scores = reranker.scores(query, texts)
        assert len(set(scores.tolist())) == 3
        found = ranked.search(query, 3)
        assert [hit.passage.text for hit in found] == [texts[place] for place in np.argsort(-scores)]
        assert [hit.score for hit in found] == pytest.approx(sorted(scores.tolist(), reverse=True), abs=1e-6)
        assert reranker.scores(query, texts[1:2]) == pytest.approx(scores[1:2], abs=0)  # no score knows its neighbours


def test_only_candidates_are_read_and_as_many_as_are_asked_for(encoder, cross_encoder, tmp_path, monkeypatch):
    ranked = build_snapshot(tmp_path, ROWS, encoder=encoder, reranker=Reranker(cross_encoder, candidates=2))
    read = []
    monkeypatch.setattr(Reranker, "scores", lambda self, query, texts: read.append(texts) or np.zeros(len(texts)))
    assert [len(ranked.search("rye", k)) for k in (1, 3)] == [1, 3]
    assert [len(texts) for texts in read] == [2, 3]


def test_a_snapshot_carries_its_cross_encoder_and_answers_with_no_other(encoder, cross_encoder, tmp_path):
    built = build_snapshot(tmp_path, ROWS, encoder=encoder, reranker=Reranker(cross_encoder, candidates=2))
    opened = open_snapshot(tmp_path, encoder)
    assert opened.search("bees", 3) == built.search("bees", 3)
    assert opened.reranker.rerank == Rerank("reranker", model_digest(cross_encoder, "model"), 2)
    weights = load_file(tmp_path / "reranker" / "model.safetensors")
    save_file({name: value + 1 for name, value in weights.items()}, tmp_path / "reranker" / "model.safetensors")
    model_digest.cache_clear(), open_reranker.cache_clear()
    with pytest.raises(BadInput, match="put that one back"):
        open_snapshot(tmp_path, encoder)


def test_a_step_that_runs_again_takes_the_same_cross_encoder(cross_encoder, make_cross_encoder, tmp_path):
    parameters = pinned({"rerank": str(cross_encoder), "candidates": 5})
    assert parameters["rerank_digest"] == model_digest(cross_encoder, "model")
    assert chosen(parameters["rerank"], parameters["rerank_digest"], 5).rerank.candidates == 5
    assert chosen("", "", 20) is None and pinned({"k": 2}) == {"k": 2}
    other = make_cross_encoder(tmp_path / "other", seed=4)
    with pytest.raises(BadInput, match="ground the model again with this one"):
        chosen(str(other), parameters["rerank_digest"], 5)


def test_what_is_no_cross_encoder_is_refused_in_one_sentence(make_cross_encoder, cross_encoder, tmp_path):
    with pytest.raises(BadInput, match="gives 2 scores; give one that gives one"):
        Reranker(make_cross_encoder(tmp_path / "two", labels=2)).scores("a", ["b"])
    pickled = make_cross_encoder(tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    for directory, said in (
        (pickled, "no weights as safetensors"),
        (tmp_path / ("x" * 400), "there is no cross-encoder"),
    ):
        with pytest.raises(BadInput, match=said):
            Reranker(directory)
    with pytest.raises(BadInput, match="take 1 to 1000"):
        Reranker(cross_encoder, candidates=0)


def test_scores_that_are_no_numbers_rank_nothing(make_cross_encoder, tmp_path):
    broken = make_cross_encoder(tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    save_file({name: value * np.nan for name, value in weights.items()}, broken / "model.safetensors")
    with pytest.raises(BadInput, match="scores that are no numbers"):
        Reranker(broken).scores("a", ["b"])


def test_an_index_is_searched_with_a_cross_encoder_where_one_is_given(shell, grown, cross_encoder):
    words = ("rag", "index", "search", "village", "who keeps bees?", "-k", "2")
    plain = shell.json(*words)
    ranked = shell.json(*words, "--rerank", cross_encoder, "--candidates", "5")
    scores = Reranker(cross_encoder).scores("who keeps bees?", [hit["text"] for hit in ranked])
    assert [hit["score"] for hit in ranked] == pytest.approx(sorted(scores.tolist(), reverse=True), abs=1e-6)
    assert shell.json(*words) == plain
    for directory in ("nowhere", "x" * 400):
        done = shell(*words, "--rerank", directory)
        assert done.exit_code == 2 and "there is no cross-encoder in" in done.stderr
