"""Parts of a model are found by inspection, whatever it is called, and an unknown one is refused with a sentence."""

import pytest
import torch
from torch import nn

from amends import BadInput
from amends_editing.structure import first_of, inspect_model

PROJECTIONS = {
    "llama": "model.layers.{}.mlp.down_proj.weight",
    "qwen2": "model.layers.{}.mlp.down_proj.weight",
    "qwen3": "model.layers.{}.mlp.down_proj.weight",
    "gemma3": "model.layers.{}.mlp.down_proj.weight",
    "gpt2": "transformer.h.{}.mlp.c_proj.weight",
    "neox": "gpt_neox.layers.{}.mlp.dense_4h_to_h.weight",
    "opt": "model.decoder.layers.{}.fc2.weight",
}


@pytest.mark.parametrize("is_tied", [True, False])
def test_blocks_projections_norm_and_head_are_found(build, family, is_tied):
    model = build(family, tie_word_embeddings=is_tied)
    anatomy = inspect_model(model)
    assert [one.name for one in anatomy.projections] == [PROJECTIONS[family].format(layer) for layer in range(4)]
    for one in anatomy.projections:
        assert one.weight.shape == (32, 48) and one.weight.data_ptr() == model.get_parameter(one.name).data_ptr()
        assert one.is_transposed is (family == "gpt2") and one.writes_directly is (family != "gemma3")
    assert "Norm" in type(anatomy.norm).__name__ and anatomy.head is model.get_output_embeddings()
    assert (anatomy.head.weight is model.get_input_embeddings().weight) is is_tied
    assert anatomy.width == 32


def test_norm_and_head_give_the_logits_of_the_last_blocks_output(build, family):
    model, seen = build(family), []
    anatomy = inspect_model(model)
    anatomy.blocks[-1].register_forward_hook(lambda _, __, out: seen.append(first_of(out)))
    tokens = torch.arange(22).view(2, 11) * 13 % 320
    expected = model(input_ids=tokens).logits
    torch.testing.assert_close(anatomy.logits(seen[-1]), expected)


def test_softly_capped_logits_are_the_models_own(build):
    model, seen = build("gemma3", final_logit_softcapping=2.0), []
    anatomy = inspect_model(model)
    anatomy.blocks[-1].register_forward_hook(lambda _, __, out: seen.append(first_of(out)))
    expected = model(input_ids=torch.tensor([[5, 6, 7]])).logits
    torch.testing.assert_close(anatomy.logits(seen[-1]), expected)
    assert expected.abs().max() <= 2.0


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_an_update_is_added_the_way_the_weight_is_stored(build, family):
    anatomy = inspect_model(build(family))
    projection, key = anatomy.projections[1], torch.randn(1, 48, generator=torch.Generator().manual_seed(0))
    update = torch.arange(32.0 * 48).view(32, 48) / 1000
    before = projection.module(key)
    projection.add(update)
    torch.testing.assert_close(projection.module(key), before + key @ update.T)


def test_a_block_in_series_is_found_as_one_in_parallel(build):
    for in_parallel in (True, False):
        anatomy = inspect_model(build("neox", use_parallel_residual=in_parallel))
        assert anatomy.projections[2].name == PROJECTIONS["neox"].format(2)


def test_layers_are_sorted_and_the_last_block_is_left_alone(build):
    anatomy = inspect_model(build("llama"))
    assert anatomy.check_layers([2, 0, 2]) == (0, 2)
    for wrong in ([], [3], [-1]):
        with pytest.raises(BadInput, match="0 to 2"):
            anatomy.check_layers(wrong)


def test_a_model_of_one_block_is_refused(build):
    with pytest.raises(BadInput, match="LlamaForCausalLM: no list of two or more equal blocks"):
        inspect_model(build("llama", num_hidden_layers=1))


def test_a_model_that_norms_inside_its_blocks_alone_is_refused(build):
    with pytest.raises(BadInput, match="0 modules run between the last block and the head"):
        inspect_model(build("opt", do_layer_norm_before=False))


def test_a_model_without_a_head_is_refused(build):
    with pytest.raises(BadInput, match="LlamaModel has no output head"):
        inspect_model(build("llama").model)


def test_a_head_that_does_not_give_the_logits_is_refused(build):
    model = build("llama")
    model.get_output_embeddings = lambda: nn.Linear(32, 320)
    with pytest.raises(BadInput, match="norm and head do not give the model's own logits"):
        inspect_model(model)


def test_blocks_that_write_nothing_as_wide_as_the_residual_stream_are_refused(build):
    class Halved(nn.Module):
        def forward(self, hidden_states, **_):
            return hidden_states / 2

    model = build("llama")
    model.model.layers = nn.ModuleList([Halved(), Halved()])
    with pytest.raises(BadInput, match="block 0 has no linear map that writes to the residual stream"):
        inspect_model(model)


def test_blocks_whose_last_map_feeds_other_tokens_are_refused(build):
    class Mixing(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(32, 32)

        def forward(self, hidden_states, **_):
            return hidden_states + self.inner(hidden_states).cumsum(1)

    model = build("llama")
    model.model.layers = nn.ModuleList([Mixing(), Mixing()])
    with pytest.raises(BadInput, match="does not write to its own token alone"):
        inspect_model(model)
