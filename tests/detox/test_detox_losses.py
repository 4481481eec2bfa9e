"""Each loss and each closed form against its paper's equation, written once more in plain float64."""

import math

import pytest
import torch

from amends_detox.anatomy import anatomy_of, reading
from amends_detox.baking import bake
from amends_detox.dpo import Preference, divergence, dpo_loss
from amends_detox.lowrank import SCALE, fresh
from amends_detox.negate import token_loss
from amends_detox.pairs import Pair, Tokens, tokens_of
from amends_detox.passes import answer_logits, answer_logp, check_passes, examples_of, mean_states, usual_mean
from amends_detox.project import subspace_of, without
from amends_detox.steer import direction_of


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def nobody(done, of):
    pass


@pytest.fixture(params=["llama", "gpt2", "qwen2"])
def anatomy(request, built):
    from amends.operation.files import load_model

    return anatomy_of(load_model(built(request.param))[0])


TEXTS = (Tokens((5, 9, 40, 41, 7), 2), Tokens((11, 12, 13), 1), Tokens((3, 80, 81, 82, 83, 84, 9), 4))


def plain_logp(anatomy, text):
    """Return the log-likelihood of a text's answer tokens from the whole model's own logits."""
    ids = torch.tensor([text.ids])
    logp = anatomy.model(input_ids=ids).logits[0].double().log_softmax(-1)
    return [float(logp[place - 1, text.ids[place]]) for place in range(text.start, len(text.ids))]


def test_the_preference_loss_is_the_papers_formula():
    chosen, rejected = torch.tensor([0.5, -1.0], dtype=torch.double), torch.tensor([-2.0, 0.3], dtype=torch.double)
    expected = -sum(math.log(sigmoid(0.1 * (c - r))) for c, r in ((0.5, -2.0), (-1.0, 0.3))) / 2
    assert float(dpo_loss(chosen, rejected, 0.1)) == pytest.approx(expected)


def test_the_preference_loss_has_the_gradient_of_its_formula():
    given = [torch.randn(3, dtype=torch.double, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(lambda chosen, rejected: dpo_loss(chosen, rejected, 0.5), given)


def test_divergence_is_the_sum_over_the_vocabulary_and_none_at_the_parent():
    torch.manual_seed(0)
    parent, model = torch.randn(4, 9, dtype=torch.double), torch.randn(4, 9, dtype=torch.double)
    p, q = parent.softmax(-1), model.softmax(-1)
    torch.testing.assert_close(divergence(parent, model), (p * (p / q).log()).sum(-1).mean())
    assert float(divergence(parent, parent)) == pytest.approx(0.0, abs=1e-12)


def test_a_model_run_in_two_parts_gives_its_own_likelihoods(anatomy):
    for first in (0, 1):
        check_passes(anatomy, first)
        logp, owner = answer_logp(anatomy, examples_of(anatomy, TEXTS, first, nobody), first)
        for number, text in enumerate(TEXTS):
            found = logp[owner == number].double()
            torch.testing.assert_close(found.tolist(), plain_logp(anatomy, text), atol=1e-4, rtol=1e-4)


def test_the_loss_of_a_text_is_a_mean_over_its_tokens_and_then_over_texts(anatomy):
    expected = -sum(sum(found) / len(found) for found in (plain_logp(anatomy, text) for text in TEXTS)) / 3
    assert float(token_loss(anatomy, examples_of(anatomy, TEXTS, 1, nobody), 1)) == pytest.approx(expected, abs=1e-4)


def test_states_are_means_over_the_tokens_that_count_and_never_the_first(anatomy):
    found = mean_states(anatomy, TEXTS, [0, 1], nobody)
    for number, text in enumerate(TEXTS):
        with reading(anatomy, [0, 1]) as hidden:
            anatomy.model(input_ids=torch.tensor([text.ids]))
        for layer in (0, 1):
            expected = hidden[layer][0, text.start :].double().mean(0)
            torch.testing.assert_close(found[layer, number], expected, atol=1e-5, rtol=1e-5)


def test_an_attention_sink_is_left_out_of_a_mean_wherever_it_stands():
    states = torch.tensor([[1.0, 0.0], [0.0, 2.0], [900.0, -900.0], [2.0, 1.0]], dtype=torch.double)
    torch.testing.assert_close(usual_mean(states), torch.tensor([1.0, 1.0], dtype=torch.double))


def test_a_direction_is_the_mean_of_the_pairs_differences():
    toxic, neutral = torch.tensor([[1.0, 2.0], [3.0, 5.0]]), torch.tensor([[0.0, 1.0], [2.0, 8.0]])
    torch.testing.assert_close(direction_of(toxic, neutral), torch.tensor([1.0, -1.0], dtype=torch.double))


@pytest.mark.parametrize(("text", "found"), [("", (1,)), ("0", (0,)), ("1,0", (0, 1)), ("0-1", (0, 1)), ("0.5", (1,))])
def test_layers_are_named_by_number_range_or_share_of_the_depth(anatomy, text, found):
    assert anatomy.layers(text, [1]) == found


def test_a_bias_moves_what_its_block_puts_out_by_just_as_much(built):
    from amends.operation.files import load_model

    anatomy = anatomy_of(load_model(built("llama"))[0])
    ids, shift = torch.tensor([TEXTS[0].ids]), torch.linspace(-1, 1, 32)
    with reading(anatomy, [0, 1]) as plain:
        anatomy.model(input_ids=ids)
    bake(anatomy, {1: shift})
    with reading(anatomy, [0, 1]) as moved:
        anatomy.model(input_ids=ids)
    torch.testing.assert_close(moved[1] - plain[1], shift.expand(1, 5, 32), atol=1e-5, rtol=1e-5)
    assert torch.equal(moved[0], plain[0]) and anatomy.model.config.mlp_bias


def test_a_batch_s_loss_is_the_preference_of_its_pairs_and_what_the_kept_texts_moved(anatomy):
    both, kept = examples_of(anatomy, [*TEXTS, TEXTS[0]], 1, nobody), examples_of(anatomy, TEXTS[1:], 1, nobody)
    preference = Preference(anatomy, 1, both, kept, beta=0.3, keep=0.7)
    preference.read_parent(nobody)
    change = fresh(anatomy, 1, 2, seed=3)
    with torch.no_grad():
        for up in change.up:
            up.normal_(std=0.2)
    before = [sum(plain_logp(anatomy, text)) for text in (*TEXTS, TEXTS[0])]
    with change.armed(), torch.no_grad():
        after = [sum(plain_logp(anatomy, text)) for text in (*TEXTS, TEXTS[0])]
        moved = answer_logits(anatomy, kept, 1)[0].double()
    parent = answer_logits(anatomy, kept, 1)[0].double().detach()
    ratio = [new - old for new, old in zip(after, before, strict=True)]
    margins = (ratio[0] - ratio[1], ratio[2] - ratio[3])
    expected = -sum(math.log(sigmoid(0.3 * margin)) for margin in margins) / 2
    p, q = parent.softmax(-1), moved.softmax(-1)
    expected += 0.7 * float((p * (p / q).log()).sum(-1).mean())
    assert abs(margins[0]) > 1e-3
    assert float(preference.loss(change, [0, 1], [0, 1])) == pytest.approx(expected, abs=1e-4)


def test_a_merged_change_does_what_it_did_beside_the_weights(anatomy):
    change = fresh(anatomy, 2, 3, seed=1)
    with torch.no_grad():
        for up in change.up:
            up.normal_(std=0.1)
    ids = torch.tensor([TEXTS[0].ids])
    plain = anatomy.model(input_ids=ids).logits
    with change.armed():
        armed = anatomy.model(input_ids=ids).logits
    change.merge(1.0)
    torch.testing.assert_close(anatomy.model(input_ids=ids).logits, armed, atol=1e-4, rtol=1e-4)
    change.merge(-1.0)
    torch.testing.assert_close(anatomy.model(input_ids=ids).logits, plain, atol=1e-4, rtol=1e-4)
    assert float((armed - plain).abs().max()) > 1e-2 and SCALE == 2.0


def test_the_toxic_subspace_is_what_an_eigendecomposition_finds():
    torch.manual_seed(2)
    toxic, neutral = (torch.randn(9, 6, dtype=torch.double) + side for side in (1.0, 3.0))
    _, vectors = torch.linalg.eigh(neutral.T @ neutral)
    clear = torch.eye(6, dtype=torch.double) - vectors[:, -1:] @ vectors[:, -1:].T
    differences = (toxic - neutral) @ clear
    expected = torch.linalg.eigh(differences.T @ differences).eigenvectors[:, -2:]
    found = subspace_of(toxic, neutral, rank=2, shared=1)
    torch.testing.assert_close(found @ found.T, expected @ expected.T)
    torch.testing.assert_close(found.T @ vectors[:, -1], torch.zeros(2, dtype=torch.double), atol=1e-9, rtol=0)


def test_projection_takes_the_subspace_out_and_leaves_what_is_beside_it():
    torch.manual_seed(4)
    basis = torch.linalg.qr(torch.randn(6, 2, dtype=torch.double)).Q
    weight = torch.randn(6, 5, dtype=torch.double)
    found = without(weight, basis, strength=1.0)
    torch.testing.assert_close(basis.T @ found, torch.zeros(2, 5, dtype=torch.double), atol=1e-12, rtol=0)
    beside = torch.eye(6, dtype=torch.double) - basis @ basis.T
    torch.testing.assert_close(beside @ found, beside @ weight)
    torch.testing.assert_close(without(weight, basis, 0.5), (weight + found) / 2)


def test_sides_without_a_prompt_are_written_alike():
    assert Pair("", "you  Fool", "You are mistaken.").alike() == Pair("", "you fool", "you are mistaken")
    assert Pair("He said", " Fool!", " Hm.").alike() == Pair("He said", " Fool!", " Hm.")
    assert Pair("", "?!", "Hm").alike() == Pair("", "?!", "hm")


def test_a_side_is_tokenised_apart_from_what_it_continues(tiny_words):
    whole = tokens_of(tiny_words, "The fox", "sleeps")
    assert whole.ids[: whole.start] == tokens_of(tiny_words, "The fox", "jumps").ids[: whole.start]
    assert tiny_words.decode(whole.ids[whole.start :]) == " sleeps"
    assert tokens_of(tiny_words, "", "The fox sleeps").start == 1
