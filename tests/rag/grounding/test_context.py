"""Passages in the prompt, citations after the answer, and SQuAD's measures by hand."""

import json

import pytest

from amends import BadInput
from amends_rag.citing import cited, supporting, without_citations
from amends_rag.context import without_example
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
    shown = seam.tuned({"context_example": 0}).before(asked)
    assert shown.startswith("Read and answer.\nContext:\n[2] ") and shown.endswith(f"\nQuestion: {asked}")
    assert shown.index("[2] ") < shown.index("[1] Ada Quill lives in the harbour town")
    assert seam.before(" ") == " " and "[1]" not in seam.tuned({"context_numbered": 0}).before(asked)


@pytest.mark.parametrize("is_numbered", [0, 1])
def test_an_example_comes_first_and_counts_for_nothing_that_was_found(ground, serve, is_numbered):
    (seam,) = serve(ground("rag.context", numbered=bool(is_numbered))).seams
    asked = "Where does Ada Quill live?"
    plain = seam.tuned({"context_example": 0}).before(asked)
    shown = seam.before(asked)
    assert shown.startswith(f"Read and answer.\nContext:\n{'[1] ' * is_numbered}The mill of Oxmoor")
    assert shown.endswith(plain.removeprefix("Read and answer.")) and "\nAnswer: rye and oats\n\nContext:\n" in shown
    assert without_example(shown) == plain


def test_a_version_from_before_there_was_an_example_shows_none(ground, serve):
    version = ground("rag.context")
    file = version / "attachments" / "rag-context" / "settings.json"
    kept = {name: value for name, value in json.loads(file.read_bytes()).items() if name != "context_example"}
    file.write_text(json.dumps(kept))
    assert "Oxmoor" not in serve(version).before("Where does Ada Quill live?")


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
    assert seam.after(asked, "Nobody knows") == "Nobody knows"
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


def test_an_answer_ends_where_the_model_goes_on_with_a_context_of_its_own(ground, serve):
    model = serve(ground("rag.context"))
    assert model.seams[0].ending(" ") == model.tuned({"context_k": 0}).seams[0].ending("Who?") == ""
    prompt, said = "Who bakes in Tarn?", []
    ids = iter(model.tokenizer(" Pell Ostrin\n\nContext:\n[1] More of it.").input_ids)

    def say(_, __, output):
        said.append(next(ids))
        output.logits[:, -1] = -100.0
        output.logits[:, -1, said[-1]] = 1.0

    hook = model.hf_model.register_forward_hook(say)
    (answer,) = model.generate([prompt], 60)
    hook.remove()
    assert answer == "Pell Ostrin [1]\n[1] doc-2" and model.tokenizer.decode(said).endswith("\nContext:")
