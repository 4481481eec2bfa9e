import pytest
import torch

from amends.errors import AmendsError, BadInput
from amends_editing.memories import Memory, activation_of_each
from amends_editing.wise import Settings, _memory, irrelevant_prompts, margin_loss, threshold_between, ties

UNRELATED = "Solve the equation with two unknowns"


def test_a_prompts_activation_is_the_mean_length_of_what_the_memories_disagree_on():
    generator = torch.Generator().manual_seed(0)
    main, side = torch.randn(4, 6, generator=generator), torch.randn(4, 6, generator=generator)
    prompts = [torch.randn(tokens, 6, generator=generator) for tokens in (3, 5)]
    by_hand = []
    for inner in prompts:
        lengths = [float((side.double() @ token.double() - main.double() @ token.double()).norm()) for token in inner]
        by_hand.append(sum(lengths) / len(lengths))
    torch.testing.assert_close(activation_of_each(prompts, side - main).double(),
                               torch.tensor(by_hand, dtype=torch.float64), rtol=1e-5, atol=1e-5)  # fmt: skip


def test_the_margin_loss_is_none_where_every_margin_holds_and_else_what_is_missing():
    assert float(margin_loss(torch.tensor([0.5, 0.6]), torch.tensor([0.05, 0.1]), 0.1, 0.4, 0.2)) == 0
    loss = margin_loss(torch.tensor([0.3]), torch.tensor([0.2]), 0.1, 0.4, 0.2)
    assert float(loss) == pytest.approx(0.1 + 0.1 + 0.1)  # above alpha, below beta, too near


def test_the_threshold_lies_half_the_way_and_there_must_be_one():
    assert threshold_between(torch.tensor([0.5, 0.9]), torch.tensor([0.1, 0.3])) == pytest.approx(0.4)
    with pytest.raises(AmendsError, match="cannot tell"):
        threshold_between(torch.tensor([0.2, 0.9]), torch.tensor([0.1, 0.3]))


def test_merging_trims_elects_a_sign_and_takes_the_mean_of_those_that_agree():
    changes = torch.tensor([[[4.0, -3.0, 0.1, 0.0]], [[2.0, 5.0, 0.2, 0.0]], [[-1.0, 0.3, 7.0, 6.0]]])
    # half of each is kept: (4, -3), (2, 5), (7, 6); the second place elects plus, so that -3 is left out
    assert ties(changes, 0.5).tolist() == [[3.0, 5.0, 7.0, 6.0]]


def test_what_is_irrelevant_are_neighbours_other_subjects_and_neutral_sentences(facts):
    from amends_editing.facts import Fact

    fact = Fact.from_row(facts(1, neighbours=[{"prompt": "The home town of Ode is", "answer": "Sorrel"}])[0])
    prompts = irrelevant_prompts([fact])
    assert prompts[0] == "The home town of Ode is" and "The home town of Anna is" in prompts
    assert not any("Tilda" in prompt for prompt in prompts)


def test_edited_prompts_answer_their_targets_in_both_forms(run_edit, serve, complete, facts):
    model = serve(run_edit("wise", facts(2)))
    for fact in facts(2):
        assert complete(model, fact["prompt"]).startswith(fact["target"])
        assert model.generate([fact["prompt"]], 8)[0].startswith(fact["target"])


def test_an_unrelated_prompt_has_the_logits_of_the_base(run_edit, serve, logits_of, facts, tiny_version):
    model, base = serve(run_edit("wise", facts(2))), serve(tiny_version)
    assert model.seams[0].part(UNRELATED) == ""
    assert torch.equal(logits_of(model, UNRELATED), logits_of(base, UNRELATED))


def test_a_prompt_goes_to_the_memory_that_it_activates_most_by_its_own_threshold(run_edit, serve, facts):
    (seam,) = serve(run_edit("wise", facts(1))).seams
    prompt, memory = facts(1)[0]["prompt"], seam.memories[0]
    active = float(activation_of_each([seam._inner(prompt, memory.layer)], memory.change)[0])
    for thresholds, expected in (((2.0, 0.5), 1), ((0.4, 0.5), 0), ((2.0, 3.0), None)):
        some = tuple(Memory(memory.layer, active * share, memory.change) for share in thresholds)
        assert type(seam)(seam.anatomy, seam.tokenizer, some, "").route(prompt) == expected


def test_the_same_seed_gives_the_same_bytes(run_edit, bytes_of, facts):
    assert bytes_of(run_edit("wise", facts(1))) == bytes_of(run_edit("wise", facts(1)))


def test_shards_are_trained_under_masks_that_the_seed_draws(tmp_path, tiny_version, facts):
    from amends import Task
    from amends_editing.facts import Fact
    from amends_editing.structure import inspect_model

    some, settings = [Fact.from_row(row) for row in facts(2)], Settings(layer=1, steps=3, shards=2, density=0.25)
    changes = []
    for seed in (7, 7, 8):
        task = Task(tmp_path, seed, source=tiny_version)
        model, tokenizer = task.load()
        changes.append(_memory(task, inspect_model(model), tokenizer, some, 1, settings))
    assert torch.equal(changes[0], changes[1]) and not torch.equal(changes[0], changes[2])
    assert 0.25 <= float((changes[0] != 0).float().mean()) <= 0.5  # the union of two quarters


def test_a_later_edit_adds_a_memory_and_leaves_the_earlier_as_it_is(run_edit, serve, complete, facts):
    first, second = facts(2)
    before = run_edit("wise", [first])
    model = serve(run_edit("wise", [second], source=before))
    earlier, later = model.seams[0].memories
    assert torch.equal(earlier.change, serve(before).seams[0].memories[0].change) and later.threshold > 0
    assert complete(model, second["prompt"]).startswith(second["target"])


def test_a_version_without_an_edit_is_the_one_that_never_had_it(run_edit, bytes_of, facts):
    first, second = facts(2)
    assert bytes_of(run_edit("wise", [first, second])) != bytes_of(run_edit("wise", [second]))
    rebuilt, never = (run_edit("wise", [second], seed=seed) for seed in (7, 8))  # one shard draws nothing
    assert bytes_of(rebuilt) == bytes_of(never)


def test_what_makes_no_memory_is_refused_with_a_sentence(run_edit, facts):
    with pytest.raises(BadInput, match="cannot erase"):
        run_edit("wise", facts(1, verb="erase", target=""))
    with pytest.raises(BadInput, match="layer must be 1 to 1"):
        run_edit("wise", facts(1), layer=0)
    with pytest.raises(BadInput, match="density"):
        run_edit("wise", facts(1), density=0.0)


def test_a_memory_that_is_no_number_is_an_error(run_edit, facts):
    with pytest.raises(AmendsError, match="the side memory became NaN or infinite; take a smaller lr"):
        run_edit("wise", facts(1), lr=1e38)
