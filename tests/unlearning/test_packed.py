"""Records that are run together give what each of them gives alone, and what the model itself gives."""

import copy

import pytest
import torch

from amends import BadInput
from amends.operation.files import load_model
from amends_unlearning import activations, lora, packed, training
from amends_unlearning.methods.reading import READ, Rehearsed, alike, read_by_both
from amends_unlearning.projection import closing, projectors
from amends_unlearning.watching import nobody

LAYERS = 1


@pytest.fixture
def loaded(tiny_version):
    model, tokenizer = load_model(tiny_version)
    packed.check_model(model)
    return model, tokenizer


@pytest.fixture
def both(loaded, rows):
    """Return the same records, each prepared alone and all together."""
    alone = [activations.prepare(*loaded, row, LAYERS) for row in rows]
    return alone, packed.read(*loaded, rows, loaded[0].config.num_hidden_layers - LAYERS)


def test_records_read_together_are_what_each_is_alone(both):
    for one, other in zip(*both, strict=True):
        torch.testing.assert_close(one.hidden, other.hidden)
        assert torch.equal(one.answer, other.answer)


def test_likelihoods_and_gradients_are_those_of_a_padded_batch(loaded, both):
    model, found = loaded[0], []
    for examples, loss_of in zip(both, (training.loss_of, packed.loss_of), strict=True):
        adapter = lora.fresh(model, LAYERS, 4, "seed")
        for up in adapter.parameters():
            up.add_(0.01).requires_grad_(True)
        with adapter.armed(model):
            loss = loss_of(model, examples, LAYERS)
            loss.backward()
        found.append([loss.detach(), *(parameter.grad for parameter in adapter.parameters())])
    for plain, together in zip(*found, strict=True):
        torch.testing.assert_close(together, plain, atol=1e-5, rtol=1e-4)


def test_inputs_are_closed_as_where_each_record_is_run_alone(loaded, both):
    model, adapter = loaded[0], lora.fresh(loaded[0], LAYERS, 4, "seed")
    cut = [activations.Example(one.hidden[:-1], one.answer) for one in both[0]]  # nothing follows the last token
    plain, together = projectors(model, adapter, cut), closing(model, adapter, both[1])
    assert plain.keys() == together.keys()
    for name, matrix in plain.items():
        torch.testing.assert_close(together[name], matrix, atol=1e-4, rtol=1e-3)


def test_groups_keep_the_order_and_stay_small_unless_one_record_is_large(monkeypatch):
    monkeypatch.setattr(packed, "TOGETHER", 10)
    assert [list(some) for some in packed.grouped([4, 6, 1, 30, 2, 8, 1])] == [[0, 1], [2], [3], [4, 5], [6]]
    assert list(packed.grouped([])) == []


def test_what_is_read_together_does_not_depend_on_what_was_asked_for_first(loaded, rows):
    order = [*range(7, len(rows)), *range(7)]
    asked = []
    for first in (0, len(rows) - 1):
        kept = Rehearsed(*loaded, rows, LAYERS, nobody)
        kept.expect(order[: 2 * READ])
        asked.append([kept[place].hidden for place in (first, *range(len(rows)))][1:])
    assert all(torch.equal(one, other) for one, other in zip(*asked, strict=True))


@pytest.mark.parametrize(("changed", "depth"), [("embed_tokens", 0), ("layers.0", 0), ("layers.1", 1), (None, 1)])
def test_what_a_model_and_its_parent_do_alike_is_done_once_and_nothing_else(loaded, rows, changed, depth):
    parent = copy.deepcopy(loaded[0])
    if changed:
        next(parent.get_decoder().get_submodule(changed).parameters()).mul_(1.5)
    sides = [(model, loaded[1]) for model in (loaded[0], parent)]
    assert alike(*sides, LAYERS) == depth
    for side, layers, found in zip(sides, (LAYERS, 0), read_by_both(*sides, rows, LAYERS, nobody), strict=True):
        for one, row in zip(found, rows, strict=True):
            torch.testing.assert_close(one.hidden, activations.prepare(*side, row, layers).hidden)


def test_records_that_are_read_to_the_top_are_as_likely_as_where_the_top_layers_run(loaded, rows):
    found = []
    for layers in (LAYERS, 0):
        examples = packed.read(*loaded, rows, loaded[0].config.num_hidden_layers - layers)
        found.append(packed.answer_logp(loaded[0], examples, layers))
    torch.testing.assert_close(found[0], found[1])


def test_a_model_that_does_more_than_run_its_layers_is_refused(loaded):
    loaded[0].get_decoder().register_forward_pre_hook(
        lambda body, given, more: (given, more | {"position_ids": torch.full((2, 4), 7)}), with_kwargs=True
    )
    with pytest.raises(BadInput, match="Llama family"):
        packed.check_model(loaded[0])
