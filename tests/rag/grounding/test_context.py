"""Passages in the prompt, citations after the answer, and SQuAD's measures by hand."""

import pytest

from amends import BadInput
from amends_rag.citing import cited, supporting, without_citations
from amends_rag.reranking import Reranker
from amends_rag.squad import exact_match, f1, normalised

PASSAGES = ("The capital of the island is Sorrel.", "Ada Quill sells pears in Brenn.")


def test_answers_are_normalised_as_squad_does():
    assert normalised("The  Harbour-Town, of A Brenn!") == "harbourtown of brenn"
    assert exact_match("the Sorrel.", "Sorrel") == 1.0 and exact_match("Sorrel town", "Sorrel") == 0.0


def test_f1_is_the_harmonic_mean_of_shared_words():
    assert f1("in Brenn by the sea", "Brenn") == pytest.approx(2 * 0.25 * 1 / 1.25)
    assert f1("red red fox", "red fox fox") == pytest.approx(2 / 3)  # each word as often as both have it
    assert f1("", "Brenn") == 0.0 and f1("the", "a") == 1.0


def test_the_source_is_the_first_passage_that_says_the_answer_else_the_likest():
    assert supporting("Sorrel", PASSAGES) == 1
    assert supporting("pears and apples sold in Brenn", PASSAGES) == 2
    assert supporting("something else entirely", PASSAGES) is None and supporting("the", PASSAGES) is None


def test_citations_are_read_and_taken_away_again():
    answer = "In Brenn [2], as [9] says.\n[2] village.md"
    assert cited(answer, 3) == [2]
    assert without_citations(answer) == "In Brenn , as says."


def test_passages_stand_before_the_question_with_their_numbers_the_best_last(ground, serve):
    (seam,) = serve(ground("rag.context")).seams
    asked = "Where does Ada Quill live?"
    shown = seam.before(asked)
    assert shown.startswith("Read and answer.\nContext:\n[2] ") and shown.endswith(f"\nQuestion: {asked}")
    assert shown.index("[2] ") < shown.index("[1] Ada Quill lives in the harbour town")
    assert seam.before(" ") == " " and "[1]" not in seam.tuned({"context_numbered": 0}).before(asked)


def test_passages_are_ranked_again_where_a_cross_encoder_is_named_and_the_version_holds_it(
    ground, serve, bytes_of, cross_encoder
):
    given = {"k": 3, "rerank": str(cross_encoder), "candidates": 3}
    version = ground("rag.context", **given)
    (seam,) = serve(version).seams
    asked = "Where does Ada Quill live?"
    texts = [hit.passage.text for hit in seam.hits(asked)]
    scores = Reranker(cross_encoder).scores(asked, texts)
    assert len(texts) == 3 and scores.tolist() == sorted(scores.tolist(), reverse=True)
    assert {hit.passage.text for hit in seam.tuned({"context_fusion": "lexical"}).hits(asked)} == set(texts)
    assert "attachments/rag-context/index/reranker/model.safetensors" in bytes_of(version)
    assert bytes_of(version) == bytes_of(ground("rag.context", **given))
    with pytest.raises(BadInput, match="put that one back"):
        ground("rag.context", **given, rerank_digest="5a" * 32)


def test_only_as_many_passages_stand_there_as_fit(ground, serve):
    (seam,) = serve(ground("rag.context", k=3)).seams
    asked = "Where does Ada Quill live?"
    assert [len(seam.tuned({"context_tokens": most}).hits(asked)) for most in (1, 60, 4096)] == [0, 1, 3]


def test_an_answer_names_its_source_and_what_the_source_is_called(ground, serve, documents):
    rows = [row | {"title": f"page-{number}"} for number, row in enumerate(documents())]
    (seam,) = serve(ground("rag.context", rows)).seams
    asked = "Where does Ada Quill live?"
    assert seam.after(asked, "the harbour town of Brenn") == "the harbour town of Brenn [1]\n[1] page-0"
    assert seam.after(asked, "Nobody knows") == seam.after(asked, "Nobody knows\nContext: more") == "Nobody knows"
    assert seam.tuned({"context_cite": 0}).after(asked, "in Brenn") == "in Brenn"


def test_several_questions_share_passes_and_are_answered_as_each_alone(ground, serve):
    model = serve(ground("rag.context"))
    asked = ["Where does Ada Quill live?", "Who bakes in Tarn?", "Where does Ada Quill live?"]
    rows = []
    hook = model.hf_model.register_forward_pre_hook(
        lambda _, args, kwargs: rows.append(kwargs["input_ids"].shape[0]), with_kwargs=True
    )
    together = model.generate(asked, 6)
    hook.remove()
    assert together == [model.generate([one], 6)[0] for one in asked] and set(rows) == {2}
