import json

import pytest
import torch

from amends import BadInput
from amends.operation.files import load_model
from amends_unlearning import lora


@pytest.fixture
def model(tiny_version):
    return load_model(tiny_version)[0]


def drawn(model, layers=1, rank=3, seed="drawn"):
    """Return an adapter that changes something."""
    adapter = lora.fresh(model, layers, rank, seed)
    generator = torch.Generator().manual_seed(1)
    for tensor in adapter.parameters():
        tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
    return adapter


IDS = torch.tensor([[5, 9, 33, 7, 2, 90]])


@torch.no_grad()
def test_a_fresh_adapter_answers_like_the_base_bit_for_bit(model):
    expected = model(IDS).logits
    with lora.fresh(model, 2, 4, "seed").armed(model):
        assert torch.equal(model(IDS).logits, expected)


@torch.no_grad()
def test_the_base_comes_back_bit_for_bit(model):
    expected, adapter = model(IDS).logits, drawn(model)
    with pytest.raises(RuntimeError, match="stop"), adapter.armed(model):
        assert not torch.equal(model(IDS).logits, expected)
        raise RuntimeError("stop")
    assert torch.equal(model(IDS).logits, expected)


@torch.no_grad()
def test_peft_loads_a_saved_adapter_and_answers_alike(model, tiny_version, tmp_path):
    from peft import PeftModel

    adapter = drawn(model)
    adapter.save(tmp_path)
    theirs = PeftModel.from_pretrained(load_model(tiny_version)[0], tmp_path).eval()
    assert {name for name, _ in theirs.named_parameters() if "lora" in name} == {
        name.replace(".weight", ".default.weight") for name in adapter.weights
    }
    with adapter.armed(model):
        torch.testing.assert_close(model(IDS).logits, theirs(IDS).logits, atol=1e-5, rtol=0)


@torch.no_grad()
def test_merging_answers_like_the_armed_adapter(model):
    adapter = drawn(model)
    with adapter.armed(model):
        expected = model(IDS).logits
    adapter.merge(model)
    torch.testing.assert_close(model(IDS).logits, expected, atol=1e-4, rtol=0)


@torch.no_grad()
def test_two_adapters_side_by_side_add_up(model):
    first, second = drawn(model, seed="a"), drawn(model, rank=2, seed="b")
    with first.armed(model), second.armed(model):
        expected = model(IDS).logits
    both = second.beside(first)
    assert both.rank == 5
    with both.armed(model):
        torch.testing.assert_close(model(IDS).logits, expected, atol=1e-5, rtol=0)


def test_equal_adapters_are_saved_as_equal_bytes_and_read_back(model, tmp_path):
    adapter = drawn(model)
    backwards = lora.Adapter(adapter.rank, adapter.layers, dict(reversed(adapter.weights.items())))
    assert adapter.to_bytes() == backwards.to_bytes()
    adapter.save(tmp_path)
    found = lora.read(tmp_path)
    assert (found.rank, found.layers) == (adapter.rank, adapter.layers)
    assert all(torch.equal(found.weights[name], adapter.weights[name]) for name in adapter.weights)
    config = json.loads((tmp_path / lora.CONFIG).read_bytes())
    assert list(config) == sorted(config) and config["layers_to_transform"] == [1]


def test_more_layers_than_there_are_are_refused(model):
    with pytest.raises(BadInput, match="between 1 and 2"):
        lora.fresh(model, 3, 4, "seed")


def test_a_model_of_another_family_is_refused():
    from transformers import GPT2Config, GPT2LMHeadModel

    other = GPT2LMHeadModel(GPT2Config(vocab_size=99, n_embd=8, n_layer=1, n_head=1))
    with pytest.raises(BadInput, match="Llama family"):
        lora.fresh(other, 1, 4, "seed")
