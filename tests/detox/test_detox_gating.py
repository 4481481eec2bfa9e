"""The gate in the weights: what it reads, that it writes what its formula says, and that it is shut at plain text."""

import copy

import pytest
import torch

from amends import BadInput
from amends_detox.anatomy import Anatomy, anatomy_of
from amends_detox.gating import RIDGE, SHARP, Gate, bake_gate, gate_of, look
from amends_detox.pairs import Tokens
from amends_detox.steer import Settings

TEXTS = (Tokens((5, 9, 40, 41, 7), 2), Tokens((11, 12, 13, 80, 81), 1))


@pytest.fixture(params=["llama", "gpt2"])
def anatomy(request, built):
    from amends.operation.files import load_model

    return anatomy_of(load_model(built(request.param))[0])


def nobody(done, of):
    pass


def states(seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(40, 32, generator=generator, dtype=torch.double)


def test_plain_texts_read_nought_and_toxic_ones_one_on_average():
    toxic, plain = states(1) + 0.7, 2 * states(2)
    gate = gate_of(toxic, plain, 0.3, 0.8)
    assert float(gate.read(toxic).mean()) == pytest.approx(1.0)
    assert float(gate.read(plain).mean()) == pytest.approx(0.0)


def test_the_reading_is_the_linear_discriminant():
    toxic, plain = states(1) + 0.7, 2 * states(2)
    within = (40 * torch.cov(toxic.T, correction=0) + 40 * torch.cov(plain.T, correction=0)) / 80
    within += RIDGE * within.diagonal().mean() * torch.eye(32, dtype=torch.double)
    expected = within.inverse() @ (toxic.mean(0) - plain.mean(0))
    found = gate_of(toxic, plain, 0.3, 0.8).weight
    torch.testing.assert_close(found / found.norm(), expected / expected.norm())


def test_texts_that_nothing_tells_apart_are_refused():
    with pytest.raises(BadInput, match="the same here"):
        gate_of(states(1), states(1), 0.3, 0.8)


@torch.no_grad()
def test_two_neurons_write_the_shift_by_the_ramp_and_the_others_what_they_did(anatomy):
    mlp, shift = anatomy.blocks[1].mlp, torch.linspace(-2, 3, 32, dtype=torch.double)
    seen = look(anatomy, [1], TEXTS, nobody)[1]
    reading = seen.states.double() @ states(3)[0]
    gate = Gate(states(3)[0], float(reading.median()), float(-reading.std()), float(reading.std()))
    used, before = seen.use.argsort()[:2], copy.deepcopy(mlp)
    idle = before.down_proj if hasattr(before, "down_proj") else before.c_proj
    (idle.weight if isinstance(idle, torch.nn.Linear) else idle.weight.T)[:, used] = 0.0
    bake_gate(anatomy, 1, gate, seen.use, shift)
    phi = getattr(mlp, "act_fn", None) or mlp.act
    turn = SHARP * (gate.read(seen.states) - gate.opens) / (gate.full - gate.opens)
    ramp = (phi(turn) - phi(turn - SHARP)) / SHARP
    expected = before(seen.states).double() + ramp[:, None] * shift
    torch.testing.assert_close(mlp(seen.states).double(), expected, atol=1e-4, rtol=1e-4)
    assert float(ramp.min()) < 0.2 and float(ramp.max()) > 0.8


def test_the_neurons_that_are_taken_are_those_that_the_texts_use_least(anatomy):
    found = look(anatomy, [0], TEXTS, nobody)[0]
    projection, inner = anatomy.projections[0], []
    hook = projection.module.register_forward_pre_hook(lambda _, given: inner.append(given[0][0]))
    for text in TEXTS:
        anatomy.model(input_ids=torch.tensor([text.ids]))
    hook.remove()
    written = torch.cat(inner)[:, :, None] * projection.weight.T[None]
    torch.testing.assert_close(found.use, written.norm(dim=-1).mean(0))
    assert found.states.shape == (8, 32)


def test_several_layers_are_looked_at_as_each_is_alone(anatomy):
    both = look(anatomy, [0, 1], TEXTS, nobody)
    for layer in (0, 1):
        alone = look(anatomy, [layer], TEXTS, nobody)[layer]
        assert torch.equal(both[layer].states, alone.states) and torch.equal(both[layer].use, alone.use)
    assert not torch.equal(both[0].states, both[1].states)


@pytest.mark.parametrize(("is_gated", "found"), [(True, (14, 16, 18)), (False, (12,))])
def test_the_layers_of_a_shift_follow_from_the_depth_unless_they_are_named(is_gated, found):
    deep = Anatomy(None, None, "layers", (torch.nn.Identity(),) * 30, ())
    assert Settings("", 4.0, is_gated, 0.5, 1.0).layers(deep) == found
    assert Settings("3", 4.0, is_gated, 0.5, 1.0).layers(deep) == (3,)


def test_each_layer_gets_the_gate_and_the_shift_that_it_gets_alone(run_detox, built, detox_rows, weights_of):
    before = weights_of(built("llama"))
    both, *alone = (weights_of(run_detox("detox.steer", detox_rows(), layer=layer).output) for layer in ("", "0", "1"))
    for layer, one in enumerate(alone):
        own = [key for key in both if f".layers.{layer}.mlp." in key]
        assert own and all(torch.equal(both[key], one[key]) for key in own)
        writes = f"model.layers.{layer}.mlp.down_proj.weight"
        assert int((both[writes] != before[writes]).any(dim=0).sum()) == 2
