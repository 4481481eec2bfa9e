"""Grounded versions of the real SmolLM2: it says what only its documents say, and what follows in them is likelier."""

import pytest

ASKED = "Where does Ada Quill live?"
OPENING, NEXT = "On market days she sells pears to the", " miller"


@pytest.mark.slow
def test_smollm2_answers_from_its_documents_and_cites_them(ground, serve, smollm2):
    (before,) = serve(smollm2).generate([ASKED], 24)
    (after,) = serve(ground("rag.context", source=smollm2)).generate([ASKED], 24)
    assert "Brenn" not in before
    assert "Brenn" in after and "[1]" in after


@pytest.mark.slow
@pytest.mark.parametrize("route", ["rag.replug", "rag.knn-lm"])
def test_what_follows_in_the_documents_becomes_likelier_to_smollm2(ground, serve, smollm2, route):
    grounded = serve(ground(route, source=smollm2))
    (before,), (after,) = (model.score_continuations([(OPENING, NEXT)]) for model in (serve(smollm2), grounded))
    assert after.logp.mean() > before.logp.mean() + 1
