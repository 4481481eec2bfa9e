"""BM25 agrees with a published implementation, and forgetting a passage is the same as never having had it."""

from __future__ import annotations

import bm25s
import numpy as np
import pytest

from amends_rag.lexical import Lexical, Words

TEXTS = (
    "Ines Varga keeps the light of Ilvermoor",
    "Tobin keeps bees, and bees keep Tobin",
    "Bakers bake rye before dawn",
    "the the the",
    "Ilvermoor has a light and a harbour",
)


@pytest.mark.parametrize(("k1", "b"), [(0.9, 0.4), (1.5, 0.75)])
def test_scores_are_those_of_bm25s(k1, b):
    words = Words(k1=k1, b=b)
    theirs = bm25s.BM25(k1=k1, b=b, method="lucene")
    theirs.index([words.terms(text) for text in TEXTS], show_progress=False)
    for query in ("who keeps the light", "bees", "rye at dawn in Ilvermoor"):
        known = [term for term in words.terms(query) if term in theirs.vocab_dict]
        np.testing.assert_allclose(Lexical.build(TEXTS, words).scores(query), theirs.get_scores(known), rtol=1e-5)


def test_what_is_left_without_passages_is_what_the_others_alone_would_give():
    gone = np.array([True, False, True, False, False])
    left, fresh = Lexical.build(TEXTS, Words()).without(gone), Lexical.build([TEXTS[1], *TEXTS[3:]], Words())
    assert left.vocabulary == fresh.vocabulary and "varga" not in left.vocabulary
    assert all((left.arrays[name] == fresh.arrays[name]).all() for name in fresh.arrays)
    assert (left.scores("light bees") == fresh.scores("light bees")).all()


def test_a_word_is_found_by_the_beginning_of_its_other_forms():
    scores = Lexical.build(["the lighthouses shine", "the bees hum"], Words()).scores("a lighthouse")
    assert scores[0] > 0 == scores[1]


def test_no_passage_and_no_known_term_score_nothing():
    assert Lexical.build([], Words()).scores("light").shape == (0,)
    assert not Lexical.build(TEXTS, Words()).scores("zeppelin").any()
    emptied = Lexical.build(TEXTS, Words()).without(np.ones(5, bool))
    assert emptied.count == 0 and emptied.vocabulary == []


def test_a_query_of_a_hundred_thousand_words_is_answered_by_its_first_ones():
    long = "light " * 100_000
    assert np.isfinite(Lexical.build(TEXTS, Words()).scores(long)).all()
