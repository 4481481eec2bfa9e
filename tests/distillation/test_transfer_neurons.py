"""Knowledge neurons: integrated gradients, least squares, and where carried neurons sit."""

import pytest
import torch

from amends import BadInput
from amends_distillation.transfer.aligning import least_squares
from amends_distillation.transfer.attribution import attribution
from amends_distillation.transfer.samples import Sample
from amends_distillation.transfer.seats import Neurons, Seats, widen

SHORT = {"unit": "neurons", "neurons": 6, "path": 4, "steps": 2, "lr": 1e-3, "batch": 2}


def logits_of(anatomy):
    with torch.no_grad():
        return anatomy.model(input_ids=torch.arange(3, 19)[None]).logits


def test_attributions_add_up_to_what_the_layer_brings_to_the_answer(write_llama, open_llama):
    """Completeness of integrated gradients (Sundararajan et al., 2017, proposition 1)."""
    anatomy, _ = open_llama(write_llama(5))
    sample = Sample((7, 19, 44, 101, 33, 65), 4)
    found = attribution(anatomy, sample, 1, 200)

    def probability():
        with torch.no_grad():
            logits = anatomy.model(input_ids=torch.tensor([sample.ids[:4]])).logits[0, -1]
        return logits.softmax(-1)[sample.ids[4]].item()

    def mute(_, args):
        silenced = args[0].clone()
        silenced[:, 3] = 0
        return (silenced,)

    whole = probability()
    hook = anatomy.linear(1, "down").register_forward_pre_hook(mute)
    without = probability()
    hook.remove()
    assert found.sum().item() == pytest.approx(whole - without, abs=2e-5)


def test_least_squares_finds_the_map_that_made_the_states():
    generator = torch.Generator().manual_seed(2)
    true, states = torch.randn(5, 8, generator=generator), torch.randn(40, 8, generator=generator)
    torch.testing.assert_close(least_squares(states, states @ true.T), true, atol=1e-5, rtol=1e-5)


def test_least_squares_of_too_few_states_is_the_map_of_least_norm():
    generator = torch.Generator().manual_seed(2)
    states = torch.randn(3, 8, generator=generator)
    found = least_squares(states, states)
    projection = torch.linalg.pinv(states) @ states
    torch.testing.assert_close(found, projection, atol=1e-5, rtol=1e-5)


def test_a_widened_model_whose_new_neurons_are_zero_says_what_it_said(write_llama, open_llama):
    anatomy, _ = open_llama(write_llama(5))
    before = logits_of(anatomy)
    widen(anatomy, {1: Neurons(torch.ones(3, 32), torch.ones(3, 32), torch.ones(32, 3))})
    torch.testing.assert_close(logits_of(anatomy), before, atol=1e-5, rtol=1e-5)
    assert anatomy.model.config.intermediate_size == 51 and anatomy.weight(0, "down").shape == (32, 51)


def test_neurons_of_the_same_model_as_extra_width_write_their_own_twice(write_llama, open_llama):
    anatomy, _ = open_llama(write_llama(5))
    twice, _ = open_llama(write_llama(5))
    numbers = torch.tensor([4, 9])
    weights = {name: anatomy.weight(1, name) for name in ("gate", "up", "down")}
    carried = {1: Neurons(weights["gate"][numbers], weights["up"][numbers], weights["down"][:, numbers])}
    seats = widen(anatomy, carried)
    seats.fill(anatomy, carried)
    twice.weight(1, "down")[:, numbers] *= 2
    torch.testing.assert_close(logits_of(anatomy), logits_of(twice), atol=1e-5, rtol=1e-5)


def test_the_seats_used_least_are_those_that_write_nothing(write_llama, open_llama):
    anatomy, _ = open_llama(write_llama(5))
    anatomy.weight(2, "down")[:, [3, 40]] = 0.0
    two = Neurons(torch.ones(2, 32), torch.ones(2, 32), torch.ones(32, 2))
    seats = Seats.least_used(anatomy, {2: two}, [Sample((5, 6, 7), 1)], lambda done, total: None)
    assert seats.numbers[2].tolist() == [3, 40]


@pytest.mark.parametrize("place", ["widen", "replace"])
@pytest.mark.parametrize("init", ["teacher", "self", "seed-only"])
def test_only_the_carried_neurons_are_new(run_transfer, questions, weights_of, write_llama, place, init):
    student, teacher = write_llama(2), write_llama(1, hidden_size=48, num_hidden_layers=4)
    given = {"seeds": questions(0), "records": questions(4), "init": init, "place": place, **SHORT}
    made = weights_of(run_transfer("transfer.pkt", student, {"teacher": teacher}, **given).output)
    new = 0
    for name, weight in weights_of(student).items():
        kept = made[name]
        if "mlp" in name:
            kept = kept[: weight.shape[0], : weight.shape[1]]
            new += int((kept != weight).any(dim=0).sum()) if "down" in name else 0
            new += made[name].shape[1] - weight.shape[1] if "down" in name else 0
            changed = (kept != weight).any(dim=0 if "down" in name else 1).sum()
            assert changed == 0 if place == "widen" else changed <= SHORT["neurons"]
        else:
            assert torch.equal(kept, weight)
    assert new >= SHORT["neurons"]


def test_more_neurons_than_there_are_is_refused(run_transfer, questions, write_llama):
    given = {"seeds": questions(0), "records": questions(4), **SHORT, "neurons": 500}
    with pytest.raises(BadInput, match="the model has 144"):
        run_transfer("transfer.pkt", write_llama(2), {"teacher": write_llama(1)}, **given)
