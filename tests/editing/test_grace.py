import json
import math

import pytest
import torch

from amends.errors import AmendsError, BadInput, Cancelled
from amends_editing.attached import asked_rows
from amends_editing.codebook import SLACK, Codebook, distances
from amends_editing.facts import Fact
from amends_editing.grace import Learner, Settings
from amends_editing.structure import inspect_model

UNRELATED = "Solve the equation with two unknowns"


def at(*numbers):
    return torch.tensor([float(number) for number in numbers])


def learnt(*points, radius=1.0):
    """Return a codebook that learnt `(key, target)` pairs; each value is its key, and holds what it was learnt for."""
    codebook = Codebook(0)
    for key, target in points:
        codebook.learn(key, target, radius, lambda key=key: key, lambda value: True)
    return codebook


def test_a_far_key_is_added_with_the_first_radius():
    codebook = learnt((at(0, 0), "a"), (at(3, 0), "b"))  # 3 > 1 + 1
    assert codebook.radii == [1.0, 1.0] and codebook.targets == ["a", "b"]


def test_a_near_key_of_the_same_answer_expands_the_radius_to_reach_it():
    codebook = learnt((at(0, 0), "a"), (at(0, 1.5), "a"))  # 1 < 1.5 <= 1 + 1
    assert codebook.radii == [pytest.approx(1.5 * (1 + SLACK))] and len(codebook.keys) == 1
    assert learnt((at(0, 0), "a"), (at(0, 0.5), "a")).radii == [1.0]


def test_a_near_key_of_another_answer_splits_the_radius_at_half_the_way():
    codebook = learnt((at(0, 0), "a"), (at(0, 1.5), "b"))
    assert codebook.radii == [0.75, 0.75]


def test_the_same_key_with_another_answer_takes_the_place_of_the_earlier():
    codebook = learnt((at(0, 0), "a"), (at(0, 0), "b"))
    assert codebook.targets == ["b"] and codebook.radii == [1.0]


def test_a_value_that_does_not_answer_the_new_prompt_is_not_stretched_to_it():
    codebook = Codebook(0)
    for key in (at(0, 0), at(0, 1.5)):
        codebook.learn(key, "a", 1.0, lambda key=key: key, lambda value: False)
    assert codebook.radii == [0.75, 0.75]


def test_distances_are_euclidean_and_none_between_equals():
    states, keys = torch.randn(40, 8, generator=torch.Generator().manual_seed(0)), at(*range(8))[None]
    by_hand = [math.sqrt(sum((float(a) - b) ** 2 for b, a in enumerate(state))) for state in states.double()]
    torch.testing.assert_close(distances(states, keys)[:, 0].double(), torch.tensor(by_hand, dtype=torch.float64),
                               rtol=1e-6, atol=1e-6)  # fmt: skip
    assert distances(states, states).diagonal().eq(0).all()


def test_a_block_is_replaced_within_the_radius_alone():
    block = torch.nn.Identity()
    codebook = Codebook(0, [at(0, 0), at(5, 0)], [at(9, 9), at(8, 8)], [1.0, 0.5], ["a", "b"])
    states = torch.stack([at(0, 1), at(0, 1.01), at(5.5, 0), at(4.4, 0)])[None]
    with codebook.armed(block):
        out = block(states)
    assert out[0].tolist() == [[9, 9], states[0, 1].tolist(), [8, 8], states[0, 3].tolist()]
    assert torch.equal(block(states), states)


def test_edited_prompts_answer_their_targets_in_both_forms(run_edit, serve, complete, facts):
    model = serve(run_edit("grace", facts()))
    for fact in facts():
        assert complete(model, fact["prompt"]).startswith(fact["target"])
        assert model.generate([fact["prompt"]], 8)[0].startswith(fact["target"])


def test_an_unrelated_prompt_has_the_logits_of_the_base(run_edit, serve, logits_of, facts, tiny_version):
    model, base = serve(run_edit("grace", facts())), serve(tiny_version)
    assert torch.equal(logits_of(model, UNRELATED), logits_of(base, UNRELATED))
    prompt = facts()[0]["prompt"]
    assert not torch.equal(logits_of(model, prompt), logits_of(base, prompt))


def test_scoring_an_answer_in_one_pass_agrees_with_generating_it(run_edit, serve, facts):
    model = serve(run_edit("grace", facts()))
    fact = facts()[0]
    score = model.score([(fact["prompt"], fact["target"])])[0]
    assert score.correct[:-1].all()  # the last is the end of the sequence, which no edit asks for


def test_the_same_seed_gives_the_same_bytes(run_edit, bytes_of, facts):
    assert bytes_of(run_edit("grace", facts())) == bytes_of(run_edit("grace", facts()))


def test_a_version_without_an_entry_is_the_one_that_never_had_it(run_edit, bytes_of, serve, complete, facts):
    first, second, third = facts()
    run_edit("grace", [first, second, third])
    rebuilt, never = run_edit("grace", [first, third]), run_edit("grace", [first, third], seed=8)
    assert bytes_of(rebuilt) == bytes_of(never)
    assert not complete(serve(rebuilt), second["prompt"]).startswith(second["target"])


def test_a_later_edit_goes_on_from_the_sources_codebook(run_edit, bytes_of, facts):
    first, *rest = facts()
    later = run_edit("grace", rest, source=run_edit("grace", [first]))
    assert bytes_of(later) == bytes_of(run_edit("grace", facts()))
    assert json.loads((later / "attachments" / "order.json").read_bytes()) == ["grace"]
    with pytest.raises(BadInput, match="at layer 1"):
        run_edit("grace", rest, source=later, layer=0)


def test_an_erasure_and_an_empty_list_are_refused(run_edit, facts):
    with pytest.raises(BadInput, match="cannot erase"):
        run_edit("grace", facts(1, verb="erase", target=""))
    with pytest.raises(BadInput, match="no edits"):
        run_edit("grace", [])


def test_a_value_that_is_no_number_is_an_error(build, tokenizer, facts):
    anatomy = inspect_model(build("llama"))
    (row, _) = asked_rows(tokenizer, Fact.from_row(facts(1)[0]))
    learner = Learner(anatomy, row, 2, Settings())
    anatomy.projections[3].weight[0, 0] = torch.nan
    with pytest.raises(AmendsError, match="a codebook value became NaN or infinite; take a smaller lr"):
        learner.solve()


def test_it_reports_and_stops(run_edit, facts):
    told = []

    def report(*step):
        told.append(step)
        if len(told) == 2:
            raise Cancelled("the task was cancelled")

    with pytest.raises(Cancelled):
        run_edit("grace", facts(), report=report)
    assert told == [(0, 3, "learning the codebook"), (1, 3, "learning the codebook")]


@pytest.mark.slow
def test_a_real_model_answers_three_edits_and_keeps_the_rest(run_edit, serve, complete, logits_of, facts, smollm2):
    base, model = serve(smollm2), serve(run_edit("grace", facts(), source=smollm2))
    for fact in facts():
        assert complete(model, fact["prompt"]).startswith(fact["target"])
    other = "The home town of Ada Lovelace is"
    assert torch.equal(logits_of(model, other), logits_of(base, other))
