"""Two rankings become one as the formulas say; equal scores never depend on luck."""

from __future__ import annotations

import numpy as np
import pytest

from amends import BadInput
from amends_rag.fusion import Fusion, best, ranks, standardised

DENSE = np.array([0.9, 0.1, 0.5, 0.5], np.float32)
WORDS = np.array([0.0, 4.0, 2.0, 0.0], np.float32)


def test_z_scores_are_weighted_by_the_share():
    expected = 0.25 * (DENSE - DENSE.mean()) / DENSE.std() + 0.75 * (WORDS - WORDS.mean()) / WORDS.std()
    np.testing.assert_allclose(Fusion("zscore", weight=0.25).fuse(DENSE, WORDS), expected, rtol=1e-5)


def test_reciprocal_ranks_give_equal_scores_the_same_rank():
    assert ranks(DENSE).tolist() == [1, 4, 2, 2]
    assert ranks(WORDS).tolist() == [3, 1, 2, 3]
    expected = 0.5 / (60 + ranks(DENSE)) + 0.5 / (60 + ranks(WORDS))
    np.testing.assert_allclose(Fusion("rrf", weight=0.5).fuse(DENSE, WORDS), expected, rtol=1e-6)


def test_one_ranking_alone_is_left_as_it_is():
    assert (Fusion("dense").fuse(DENSE, WORDS) == DENSE).all()
    assert (Fusion("lexical").fuse(DENSE, WORDS) == WORDS).all()


def test_where_no_word_is_shared_meaning_decides():
    nothing = np.zeros(4, np.float32)
    assert (standardised(nothing) == 0).all()
    assert best(Fusion().fuse(DENSE, nothing), 1).tolist() == [0]


def test_the_best_are_in_order_and_equal_ones_by_their_place():
    assert best(DENSE, 3).tolist() == [0, 2, 3]
    assert best(DENSE, 2).tolist() == [0, 2]
    assert best(DENSE, 99).tolist() == [0, 2, 3, 1]
    assert best(DENSE[:0], 5).tolist() == []


def test_a_fusion_that_does_not_exist_is_refused():
    with pytest.raises(BadInput, match="take one of zscore, rrf, dense, lexical"):
        Fusion("sum")
    with pytest.raises(BadInput, match="between 0 and 1"):
        Fusion(weight=1.5)
