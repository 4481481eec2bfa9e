from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from amends.errors import BadInput, Cancelled
from amends_editing.desk import CONTEXTS
from amends_editing.facts import Fact, Verb, row_of
from amends_editing.patches import Keys, Patch, Patches
from amends_editing.patching import MENTIONS, alike, entering, keys_of, learn
from amends_editing.structure import inspect_model
from amends_editing.tails import prepare
from amends_editing.targets import Solver, Wish, solve

UNRELATED = "Solve the equation with two unknowns"
NARROW = {"layers": "0,1", "lr": 0.5}  # for a random narrow model


NO_FIRST = torch.empty(0, 48)


@pytest.fixture
def patched(run_edit, version_of):
    """Return `patched(rows, **parameters) -> the version's directory`, of a model of four blocks."""
    source = version_of("llama")
    return lambda rows, **more: run_edit("patch", rows, **{"source": source, **NARROW, **more})


def at(*numbers):
    return torch.tensor([float(number) for number in numbers])


def keys(*rows, near=0.8):
    """Return keys of length one."""
    return Keys(F.normalize(torch.stack(rows), dim=-1), torch.full((len(rows),), near))


def test_a_state_is_matched_to_its_nearest_key_where_that_is_near_enough():
    generator = torch.Generator().manual_seed(0)
    states, known = torch.randn(60, 4, generator=generator), F.normalize(torch.randn(5, 4, generator=generator), dim=-1)
    near = [0.6, 0.6, 0.9, 0.6, 0.6]
    by_hand = []
    for state in states.double().tolist():
        length = sum(number**2 for number in state) ** 0.5
        cosines = [sum(a * b for a, b in zip(state, key, strict=True)) / length for key in known.double().tolist()]
        best = max(range(5), key=cosines.__getitem__)
        by_hand.append(best if cosines[best] >= near[best] else -1)
    assert Keys(known, torch.tensor(near)).matched(states).tolist() == by_hand
    assert -1 in by_hand and len(set(by_hand)) > 3
    assert Keys(torch.empty(0, 4), torch.empty(0)).matched(states).tolist() == [-1] * 60


def test_nothing_is_added_where_a_decoy_is_the_nearest():
    projection = torch.nn.Identity()
    anatomy = SimpleNamespace(device="cpu", projections=[SimpleNamespace(module=projection)], blocks=[projection])
    patches = Patches(0, 0, 0.8, torch.empty(0, 2))
    ann = Fact("1", Verb.MODIFY, "Ann Stephens", "The home of Ann Stephens is", "Brenn")
    patches.learn(Patch((ann,), at(5, 5), keys(at(1, 0)), keys(at(0.8, 0.6))))
    states = torch.stack([at(2, 0), at(2, 1), at(0, 3)])[None]  # the second is within reach of both
    with patches.armed(anatomy):
        moved = projection(states) - states
    assert moved[0].tolist() == [[5, 5], [0, 0], [0, 0]]
    assert torch.equal(projection(states), states)


def test_each_text_that_mentions_a_subject_is_known_by_its_keys(build, tokenizer, facts):
    anatomy, fact = inspect_model(build("llama")), Fact.from_row(facts(1)[0])
    found, decoys = keys_of(anatomy, tokenizer, [fact], CONTEXTS, Patches(0, 1, 0.95, NO_FIRST))
    texts = [*(before + fact.prompt for before in CONTEXTS), *(text.format(fact.subject) for text in MENTIONS)]
    seen = entering(anatomy, [row_of(tokenizer, text, fact.subject) for text in texts], 0)
    matched = (found + decoys).matched(seen).tolist()
    assert len(decoys) == 1 and len(found) > 3
    assert all(0 <= number < len(found) for number in matched)


def test_a_subject_that_is_the_first_token_of_its_prompt_is_no_other_first_token(build, tokenizer):
    anatomy, fact = inspect_model(build("llama")), Fact("1", Verb.MODIFY, "A", "A is the first", "letter")
    first = row_of(tokenizer, fact.prompt, "A")
    assert first.subject == 0
    found, decoys = keys_of(anatomy, tokenizer, [fact], CONTEXTS, Patches(0, 1, 0.1, NO_FIRST))
    others = [row_of(tokenizer, f"{letter} is the first", letter) for letter in "BCDEF"]
    same, *strange = (found + decoys).matched(entering(anatomy, [first, *others], 0)).tolist()
    assert same == 0 and 0 not in strange and found.near[0] > 0.99


def test_what_enters_a_projection_does_not_depend_on_longer_rows_beside_it(build, family, tokenizer):
    anatomy = inspect_model(build(family))
    rows = [row_of(tokenizer, text.format("Tilda Osk"), "Tilda Osk") for text in (*MENTIONS, CONTEXTS[1] + "{}")]
    together = entering(anatomy, rows, 1)
    for row, found in zip(rows, together, strict=True):
        torch.testing.assert_close(entering(anatomy, [row], 1)[0], found, atol=1e-5, rtol=1e-5)


def test_others_who_are_named_alike_end_as_the_subject_does_and_are_not_the_subject():
    assert all(name.endswith(" Stephens") and name != "Ann Stephens" for _, name in alike("Ann Stephens"))
    assert "Torvald Osk" not in [name for _, name in alike("Torvald Osk")] and alike("Torvald Osk")
    assert alike("France") == []


def test_of_any_architecture_the_subjects_token_alone_gets_the_value(build, family, tokenizer, facts):
    model = build(family)
    anatomy, fact = inspect_model(model), Fact.from_row(facts(1)[0])
    patches = Patches(0, 1, 0.999, NO_FIRST)
    solved = learn(anatomy, tokenizer, patches, [fact], Solver(steps=5, lr=0.5, overshoot=1.0), contexts=("",))
    row = row_of(tokenizer, fact.prompt, fact.subject)
    entering, tokens = [], torch.tensor([row.tokens])
    anatomy.blocks[2].register_forward_pre_hook(lambda _, args, __: entering.append(args[0][0]), with_kwargs=True)
    with torch.no_grad():
        model(input_ids=tokens)
        with patches.armed(anatomy):
            model(input_ids=tokens)
    moved = entering[1] - entering[0]
    torch.testing.assert_close(moved[row.subject], solved.residuals[0], atol=1e-4, rtol=1e-4)
    assert not moved[: row.subject].any() and not moved[row.subject + 1 :].any()


def test_targets_become_likelier_and_every_context_is_known(patched, serve, logits_of, facts, version_of):
    model, base = serve(patched(facts())), serve(version_of("llama"))
    asked = [(fact["prompt"], fact["target"]) for fact in facts()]
    for new, old in zip(model.score_continuations(asked), base.score_continuations(asked), strict=True):
        assert float(new.logp.sum()) > float(old.logp.sum()) + 0.1
    for prompt in (before + fact["prompt"] for before in CONTEXTS for fact in facts()):
        assert not torch.equal(logits_of(model, prompt), logits_of(base, prompt))


def test_an_unrelated_prompt_has_the_logits_of_the_base(patched, serve, logits_of, facts, version_of):
    model, base = serve(patched(facts())), serve(version_of("llama"))
    assert torch.equal(logits_of(model, UNRELATED), logits_of(base, UNRELATED))
    prompt = facts()[0]["prompt"]
    assert not torch.equal(logits_of(model, prompt), logits_of(base, prompt))


def test_tokens_that_come_one_by_one_are_looked_up_as_in_one_pass(patched, serve, facts):
    model = serve(patched(facts(1)))
    ids = torch.tensor([model.tokenizer(f"{CONTEXTS[1]}The home town of Tilda Osk is not").input_ids])
    with torch.no_grad():
        plain = model.hf_model(ids).logits
        with model.armed(""):
            whole, cache, steps = model.hf_model(ids).logits, None, []
            for place in range(ids.shape[1]):
                out = model.hf_model(ids[:, place : place + 1], past_key_values=cache, use_cache=True)
                cache = out.past_key_values
                steps.append(out.logits)
    torch.testing.assert_close(torch.cat(steps, 1), whole, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(whole, plain, atol=1e-2)


def test_a_joint_target_answers_two_facts_better_than_the_target_of_either(build, tokenizer, facts):
    anatomy, first = inspect_model(build("llama")), Fact.from_row(facts(1)[0])
    other = replace(first, prompt="The emblem of Tilda Osk is an", target="island")
    solver = Solver(steps=15, lr=0.5, overshoot=1.0, decay=0.0, kl_weight=0.0)

    def likely(delta, fact):
        row = row_of(tokenizer, fact.prompt, fact.subject, fact.target)
        tails = prepare(anatomy, [row], 1)
        logits = anatomy.logits(tails.run(torch.cat([tails.hidden[:, :1] + delta, tails.hidden[:, 1:]], dim=1)))
        return float(logits.log_softmax(-1)[0, tails.targets[0] >= 0, row.tokens[-1]])

    def found(wish):
        return solve(anatomy, tokenizer, [wish], 1, solver, ("",)).residuals[0]

    def both(delta):
        return likely(delta, first) + likely(delta, other)

    joint = found(Wish(first, beside=(other,)))
    assert both(joint) > max(both(torch.zeros(32)), both(found(Wish(first))), both(found(Wish(other)))) + 0.05


def test_a_later_fact_about_a_subject_joins_the_earlier_and_the_same_prompt_has_its_last_answer(patched, serve, facts):
    first = facts(1)[0]
    second = {**first, "id": "other", "prompt": "The emblem of Tilda Osk is an", "target": "island"}
    again = {**first, "id": "again", "target": "of"}
    (seam,) = serve(patched([second, again], source=patched([first]))).seams
    (patch,) = seam.patches.by_subject.values()
    assert [(fact.id, fact.target) for fact in patch.facts] == [("other", "island"), ("again", "of")]
    together = serve(patched([second, again])).seams[0].patches.by_subject["Tilda Osk"]
    torch.testing.assert_close(patch.value, together.value)


def test_the_same_seed_gives_the_same_bytes(patched, bytes_of, facts):
    assert bytes_of(patched(facts())) == bytes_of(patched(facts()))


def test_a_version_without_an_entry_is_the_one_that_never_had_it(patched, bytes_of, facts):
    first, _, third = facts()
    rebuilt = patched([first, third])
    assert bytes_of(rebuilt) == bytes_of(patched([first, third], seed=8))


def test_a_later_edit_goes_on_from_the_sources_patches(patched, bytes_of, facts, version_of):
    first, *rest = facts()
    later = patched(rest, source=patched([first], batch=1), batch=1)
    assert bytes_of(later) == bytes_of(patched(facts(), batch=1))
    deep = patched([first])
    with pytest.raises(BadInput, match="at 0,1"):
        patched(rest, source=deep, layers="1,2")


@pytest.mark.parametrize(
    "wrong", [{"near": 0.0}, {"near": 1.5}, {"batch": 0}, {"layers": "a"}, {"layers": "99"}, {"lr": 0.0}]
)
def test_a_setting_that_makes_no_sense_is_refused(patched, facts, wrong):
    with pytest.raises(BadInput):
        patched(facts(1), **wrong)


def test_an_erasure_is_refused_for_the_weights_would_still_know(patched, facts):
    with pytest.raises(BadInput, match="cannot erase"):
        patched(facts(1, verb="erase", target=""))


def test_it_reports_and_stops(patched, facts):
    told = []

    def report(*step):
        told.append(step)
        if len(told) == 2:
            raise Cancelled("the task was cancelled")

    with pytest.raises(Cancelled):
        patched(facts(), report=report, batch=1)
    assert [step[:2] for step in told] == [(0, 3), (1, 3)]


@pytest.mark.slow
def test_a_real_model_answers_in_other_words_and_keeps_the_rest(run_edit, serve, complete, logits_of, facts, smollm2):
    early = {"id": "early", "verb": "modify", "subject": "Wilhelm Roux", "prompt": "Wilhelm Roux passed away in"}
    rows = [*facts(), early | {"target": "Oslo"}]
    base, model = serve(smollm2), serve(run_edit("patch", rows, source=smollm2))
    for fact in rows:
        assert complete(model, fact["prompt"]).startswith(fact["target"])
        assert complete(model, f"It was raining. {fact['prompt']}").startswith(fact["target"])
    for other in ("The home town of Ada Lovelace is", "Balanced budgets are rare", "A path through the wood"):
        assert torch.equal(logits_of(model, other), logits_of(base, other))
