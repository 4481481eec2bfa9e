import os
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amends.governor.scan.matching import Matcher

alphabet = st.sampled_from([b"a", b"b", b"\0", b"\xff"])
texts = st.lists(alphabet, max_size=200).map(b"".join)
patterns = st.lists(st.lists(alphabet, min_size=1, max_size=24).map(b"".join), max_size=8, unique=True)


def naive(found_in: bytes, looked_for: list[bytes]) -> list[tuple[int, int]]:
    return sorted(
        (place, number)
        for number, pattern in enumerate(looked_for)
        for place in range(len(found_in))
        if found_in.startswith(pattern, place)
    )


@given(texts, patterns)
def test_the_matcher_finds_exactly_what_a_search_at_every_place_finds(text, looked_for):
    assert sorted(Matcher(looked_for).find(text)) == naive(text, looked_for)


@pytest.mark.parametrize("start", range(9))
@pytest.mark.parametrize("length", [1, 6, 7, 8, 9, 40])
def test_a_pattern_is_found_at_every_alignment_and_at_both_ends(start, length):
    draw = random.Random(length)
    pattern = draw.randbytes(length)
    matcher = Matcher([pattern, b"never there at all"])
    assert (start, 0) in matcher.find(os.urandom(start) + pattern)
    assert (start, 0) in matcher.find(os.urandom(start) + pattern + b"tail")


def test_patterns_that_hold_each_other_are_all_found():
    matcher = Matcher([b"Ada Quill of Brenn", b"da Quill", b"Quill of"])
    assert sorted(matcher.find(b"-- Ada Quill of Brenn --")) == [(3, 0), (4, 1), (7, 2)]


def test_nothing_to_look_for_finds_nothing():
    assert Matcher([]).find(b"whatever") == []


def test_a_matcher_shows_no_pattern():
    assert "Quill" not in repr(Matcher([b"Ada Quill"]))
