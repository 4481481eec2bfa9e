import math

import pytest
import torch

from amends.operation.files import load_model
from amends.serving.encoding import encode
from amends_unlearning import lora, training
from amends_unlearning.activations import answer_logp, check_model, prepare
from amends_unlearning.projection import projector, projectors

ROWS = [
    {"prompt": "Where does Ada live?", "answer": "In Brenn."},
    {"prompt": "What does the harbour master of Sorrel eat?", "answer": "Pie, every day of the week."},
    {"prompt": "Who?", "answer": "Bo."},
]
SETTINGS = training.Settings(layers=1, rank=4, epochs=24, lr=2e-2, batch=2)


@pytest.fixture
def loaded(tiny_version):
    model, tokenizer = load_model(tiny_version)
    check_model(model)
    return model, tokenizer


def examples_of(loaded, rows=ROWS):
    return [prepare(*loaded, row, 1) for row in rows]


def train(loaded, own, before=None, earlier=(), seed="seed", settings=SETTINGS):
    return training.train_slice(loaded[0], before, earlier, own, settings, seed, lambda: None)


@torch.no_grad()
def loss(loaded, adapter, examples):
    with adapter.armed(loaded[0]):
        return float(training.loss_of(loaded[0], examples, 1))


@torch.no_grad()
def test_cached_activations_and_gathered_positions_give_the_models_own_likelihoods(loaded):
    model, tokenizer = loaded
    logp, owner = answer_logp(model, examples_of(loaded), 1)
    for index, row in enumerate(ROWS):
        prompt, answer = encode(tokenizer, row["prompt"], row["answer"])
        logits = model(torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1]
        expected = logits.log_softmax(-1).gather(1, torch.tensor(answer)[:, None])[:, 0]
        torch.testing.assert_close(logp[owner == index], expected, atol=1e-4, rtol=1e-4)


def test_activations_of_a_record_do_not_depend_on_the_records_beside_it(loaded):
    alone = examples_of(loaded, ROWS[:1])[0]
    assert torch.equal(alone.hidden, examples_of(loaded)[0].hidden)


def test_training_lowers_the_loss_and_leaves_the_base_alone(loaded):
    before = {name: tensor.clone() for name, tensor in loaded[0].state_dict().items()}
    own = examples_of(loaded)
    adapter = train(loaded, own)
    assert loss(loaded, adapter, own) < 0.5 * loss(loaded, lora.fresh(loaded[0], 1, 4, "zero"), own)
    assert all(torch.equal(tensor, before[name]) for name, tensor in loaded[0].state_dict().items())


def test_equal_slices_give_equal_bytes_and_another_seed_others(loaded):
    own = examples_of(loaded)
    assert train(loaded, own).to_bytes() == train(loaded, own).to_bytes()
    assert train(loaded, own).to_bytes() != train(loaded, own, seed="other").to_bytes()


def test_a_later_slice_keeps_what_the_earlier_one_learnt(loaded):
    earlier, own = examples_of(loaded, ROWS[:1]), examples_of(loaded, ROWS[1:])
    first = train(loaded, earlier)
    both = train(loaded, own, before=first, earlier=earlier)
    careless = train(loaded, own, before=first)
    assert both.rank == 8
    assert loss(loaded, both, earlier) < loss(loaded, careless, earlier)
    assert loss(loaded, both, own) < 0.5 * loss(loaded, first, own)


def test_a_projector_closes_the_directions_that_inputs_took_and_leaves_the_others_open():
    inputs = torch.tensor([[3.0, 0, 0, 0], [0, 2.0, 0, 0]], dtype=torch.double)
    closed = projector(inputs.T @ inputs / 2, epsilon=0.01)
    mean = (4.5 + 2.0) / 4
    expected = torch.tensor([1 / (1 + 4.5 / (0.01 * mean)), 1 / (1 + 2.0 / (0.01 * mean)), 1.0, 1.0])
    torch.testing.assert_close(closed, torch.diag(expected))


def test_projectors_cover_every_adapted_layer(loaded):
    adapter = lora.fresh(loaded[0], 1, 4, "seed")
    found = projectors(loaded[0], adapter, examples_of(loaded))
    assert set(found) == {name for name, _, _ in adapter.pairs()}


def test_the_learning_rate_rises_shortly_and_falls_to_almost_nothing():
    shares = [training.schedule(step, 20, 0.1) for step in range(20)]
    assert shares[:3] == [0.5, 1.0, 1.0] and shares == sorted(shares[:2]) + sorted(shares[2:], reverse=True)
    assert shares[-1] == pytest.approx(0.5 * (1 + math.cos(math.pi * 17 / 18)))


def test_a_small_slice_gets_smaller_batches_so_that_it_gets_enough_steps():
    assert [SETTINGS.batch_of(records) for records in (1, 9, 10, 50)] == [1, 1, 2, 2]
    assert SETTINGS.steps(3) == 72
