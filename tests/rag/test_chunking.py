"""Documents are cut at the borders of sentences, within a number of tokens, with an overlap."""

from __future__ import annotations

import pytest

from amends import BadInput
from amends_rag.chunking import Cut, chunked, pieces, sentences

NUMBERS = ("first", "second", "third", "fourth", "fifth", "sixth")
TEXT = " ".join(f"The {word} keeps a light at the sea." for word in NUMBERS)


def words(text):
    return len(text.split())


def test_passages_are_whole_sentences_within_the_length_and_nothing_is_lost():
    found = list(pieces(TEXT, words, Cut(tokens=20, overlap=0)))
    assert [words(piece) for piece in found] == [16, 16, 16]
    assert " ".join(found) == TEXT


def test_the_next_passage_begins_with_the_last_sentences_of_the_one_before():
    first, second, *_ = pieces(TEXT, words, Cut(tokens=24, overlap=8))
    assert sentences(first)[-1] == sentences(second)[0]
    assert words(first) == words(second) == 24


def test_a_sentence_longer_than_a_passage_is_cut_at_its_words():
    found = list(pieces("word " * 50, words, Cut(tokens=16, overlap=0)))
    assert max(map(words, found)) <= 16 and sum(map(words, found)) == 50


def test_a_word_longer_than_a_passage_is_cut_as_well():
    found = list(pieces("x" * 100, len, Cut(tokens=30, overlap=0)))
    assert "".join(piece.replace(" ", "") for piece in found) == "x" * 100


def test_initials_and_numbers_end_no_sentence_and_a_blank_line_does():
    assert sentences("It cost 3.5 pounds. He paid.\n\nthe end") == ["It cost 3.5 pounds.", "He paid.", "the end"]


def test_ids_are_of_document_and_order_and_people_come_along():
    rows = [{"id": "a", "text": TEXT, "subjects": ["s_1"]}, {"id": "b", "text": "Short."}]
    found = list(chunked(rows, words, Cut(tokens=20, overlap=0)))
    assert [passage.id for passage in found] == ["a#0", "a#1", "a#2", "b#0"]
    assert found[2].subjects == ("s_1",) and found[3].subjects == ()
    assert "light" not in repr(found[0])


@pytest.mark.parametrize(("tokens", "overlap"), [(4, 0), (100, 60), (10**6, 0), (100, -1)])
def test_lengths_that_cannot_be_cut_are_refused(tokens, overlap):
    with pytest.raises(BadInput, match="8 to 4096 tokens"):
        Cut(tokens, overlap)
