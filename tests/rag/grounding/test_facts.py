"""Edits by retrieval: told in their scope, and not one bit of difference outside of it."""

import pytest
import torch

from amends.errors import BadInput
from amends_rag.facts import UNKNOWN

UNRELATED = "Solve the equation with two unknowns"
FACTS = [
    {"id": "e1", "verb": "modify", "subject": "Tilda Osk", "prompt": "The home town of Tilda Osk is", "target": "Quill",
     "old": "Brenn", "rephrases": ["Tilda Osk lives in the town of"]},
    {"id": "e2", "verb": "insert", "subject": "Port Ello", "prompt": "The river of Port Ello is the", "target": "Ada"},
    {"id": "e3", "verb": "erase", "subject": "Marl Venn", "prompt": "The emblem of Marl Venn is", "old": "an island"},
]  # fmt: skip


def test_a_question_in_the_scope_of_a_fact_is_asked_after_it(ground, serve):
    (seam,) = serve(ground("rag.facts", FACTS)).seams
    asked = "In which town does Tilda Osk live?"
    assert seam.before(asked) == f"The home town of Tilda Osk is Quill.\n{asked}"
    assert seam.tuned({"facts_threshold": 1.01}).before(asked) == asked


def test_an_erased_fact_is_not_told_and_its_question_gets_a_fixed_answer(ground, serve):
    model = serve(ground("rag.facts", FACTS))
    asked = "The emblem of Marl Venn is"
    assert model.before(asked) == asked and model.generate([asked], 2) == [UNKNOWN]
    assert not [text for seam in model.seams for text in seam.recalled(asked)]


def test_outside_of_every_scope_the_base_answers_bit_for_bit(ground, serve, tiny_version):
    model, base = serve(ground("rag.facts", FACTS)), serve(tiny_version)
    for asked in (UNRELATED, "Matilda Oskar's home town is", "Does Tilda Osk like rain and thunder at sea?"):
        assert model.before(asked) == asked and model.generate([asked], 4) == base.generate([asked], 4)
        assert torch.equal(model.next_token([asked])[0], base.next_token([asked])[0])


def test_of_two_facts_with_one_prompt_the_later_counts_and_a_later_step_adds(ground, serve, bytes_of):
    again = FACTS[0] | {"id": "e4", "target": "island"}
    once = ground("rag.facts", [*FACTS, again])
    assert bytes_of(once) == bytes_of(ground("rag.facts", [again], source=ground("rag.facts", FACTS)))
    assert "island" in serve(once).seams[0].before("The home town of Tilda Osk is")


def test_what_a_fact_was_before_is_not_kept(ground):
    version = ground("rag.facts", FACTS)
    kept = b"".join(file.read_bytes() for file in (version / "attachments").rglob("*") if file.is_file())
    assert b"Brenn" not in kept and b"an island" not in kept and b"Quill" in kept


def test_what_is_no_fact_is_refused_by_its_id(ground):
    with pytest.raises(BadInput, match="edit e1 has no target"):
        ground("rag.facts", [FACTS[0] | {"target": " "}])
    with pytest.raises(BadInput, match="edit e1 has no verb 'wish'"):
        ground("rag.facts", [FACTS[0] | {"verb": "wish"}])
    with pytest.raises(BadInput, match="no edits"):
        ground("rag.facts", [])
