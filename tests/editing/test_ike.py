import json

import pytest
import torch

from amends.errors import BadInput
from amends_editing.ike import Told, names, shares

UNRELATED = "Solve the equation with two unknowns"


def told(*facts, threshold=0.0, most=8, vectors=None):
    rows = [dict(subject=s, prompt=p, target=t, update=[], retain=[]) for s, p, t in facts]
    return Told(rows, torch.zeros(len(rows), 384) if vectors is None else vectors, threshold, most)


def test_the_prompt_comes_after_its_fact_and_the_demonstrations_the_nearest_last(run_edit, serve, facts):
    rows = facts()
    rows[1] |= {"rephrases": ["As its emblem, Marl Venn has an"]}
    rows[2] |= {"neighbours": [{"prompt": "The river through Hollin is the", "answer": "Ashe"}]}
    (seam,) = serve(run_edit("ike", rows)).seams
    asked = "The home town of Tilda Osk, if I may ask, is"
    likeness = seam.vectors @ seam.vectors[0]
    assert likeness[1] > likeness[2]  # so that the emblem comes last, and the one copy there is room for is of it
    assert seam.before(asked) == (
        "New Fact: The river through Port Ello is the Ada\nPrompt: The river through Hollin is the Ashe\n\n"
        "New Fact: The emblem of Marl Venn is an island\nPrompt: As its emblem, Marl Venn has an island\n\n"
        "New Fact: The emblem of Marl Venn is an island\nPrompt: The emblem of Marl Venn is an island\n\n"
        f"New Fact: The home town of Tilda Osk is Quill\nPrompt: {asked}"
    )


def test_copies_updates_and_retains_are_one_to_three_to_four():
    assert shares(8) == {"copy": 1, "update": 3, "retain": 4} == {k: v // 4 for k, v in shares(32).items()}
    assert sum(shares(11).values()) == 11 and sum(shares(0).values()) == 0


@pytest.mark.parametrize(("prompt", "is_named"), [
    ("Where does TILDA OSK live?", True), ("Tilda Osk's town", True), ("Matilda Osk lives in", False),
    ("Tilda Oskar lives in", False), ("Tilda lives in", False),
])  # fmt: skip
def test_a_subject_is_named_by_its_whole_words_in_any_case(prompt, is_named):
    assert names(prompt, "Tilda Osk") is is_named


def test_a_prompt_that_is_not_like_the_fact_stays_as_it_is(run_edit, serve, facts):
    (seam,) = serve(run_edit("ike", facts(), threshold=0.99)).seams
    assert seam.before("Does Tilda Osk like rain?") == "Does Tilda Osk like rain?"
    assert seam.before(facts()[0]["prompt"]) != facts()[0]["prompt"]


def test_of_two_equal_facts_the_later_counts():
    same = ("Tilda Osk", "The home town of Tilda Osk is")
    assert told((*same, "Brenn"), (*same, "Sorrel")).about("The home town of Tilda Osk is") == 1


def test_an_unrelated_prompt_has_the_logits_of_the_base(run_edit, serve, logits_of, facts, tiny_version):
    model, base = serve(run_edit("ike", facts())), serve(tiny_version)
    assert model.seams[0].before(UNRELATED) == UNRELATED
    assert torch.equal(logits_of(model, UNRELATED), logits_of(base, UNRELATED))


def test_an_answer_ends_where_the_model_goes_on_with_a_demonstration():
    seam = told(("Tilda Osk", "The home town of Tilda Osk is", "Brenn"), vectors=torch.ones(1, 384))
    seam = Told(seam.facts, seam.vectors, -20.0, 8)  # any likeness will do
    assert seam.after("Where is Tilda Osk?", "Brenn\n\nNew Fact: more") == "Brenn"
    assert seam.after(UNRELATED, "x\nPrompt: y") == "x\nPrompt: y"


def test_the_same_edits_give_the_same_bytes_and_a_later_one_goes_on(run_edit, bytes_of, facts):
    first, *rest = facts()
    whole = run_edit("ike", facts())
    assert bytes_of(whole) == bytes_of(run_edit("ike", facts(), seed=8))
    assert bytes_of(whole) == bytes_of(run_edit("ike", rest, source=run_edit("ike", [first])))


def test_a_version_without_an_edit_holds_nothing_of_it(run_edit, bytes_of, facts):
    first, _, third = facts()
    rebuilt = run_edit("ike", [first, third])
    assert bytes_of(rebuilt) == bytes_of(run_edit("ike", [third], source=run_edit("ike", [first])))
    assert "Marl Venn" not in (rebuilt / "attachments" / "ike" / "ike.json").read_text()


def test_it_stands_beside_a_codebook_and_writes_the_order(run_edit, bytes_of, facts):
    first, *rest = facts()
    below = run_edit("grace", [first])
    version = run_edit("ike", rest, source=below)
    assert json.loads((version / "attachments" / "order.json").read_bytes()) == ["grace", "ike"]
    kept = {name: digest for name, digest in bytes_of(version).items() if "/grace/" in name}
    assert kept and kept.items() <= bytes_of(below).items()


def test_an_erasure_is_refused(run_edit, facts):
    with pytest.raises(BadInput, match="cannot erase"):
        run_edit("ike", facts(1, verb="erase", target=""))
