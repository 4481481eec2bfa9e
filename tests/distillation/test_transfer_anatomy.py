"""Which models can be taken apart, and a sentence for the others."""

import pytest
import torch
import transformers

from amends import BadInput
from amends_distillation.transfer.anatomy import MAPS, WRITING, anatomy_of

SMALL = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
SMALL |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4}


def made(name, **more):
    config = getattr(transformers, f"{name}Config")(**{**SMALL, **more})
    kind = {"Gemma3Text": "Gemma3ForCausalLM"}.get(name, f"{name}ForCausalLM")
    return getattr(transformers, kind)(config)


@pytest.mark.parametrize("family", ["Llama", "Mistral", "Qwen2", "Qwen3", "Gemma"])
def test_models_built_as_llama_is_are_taken_apart_whatever_they_are_called(family):
    model = made(family)
    for name, weight in model.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(weight, 0.5, 1.5)
    anatomy = anatomy_of(model)
    assert (anatomy.depth, anatomy.width, anatomy.group, anatomy.head_size) == (2, 16, 2, 4)
    assert len(list(anatomy.maps())) == 2 * len(MAPS)
    hidden = torch.randn(3, 16, generator=torch.Generator().manual_seed(1))
    plain = hidden / hidden.pow(2).mean(-1, keepdim=True).sqrt()
    torch.testing.assert_close(anatomy.norm(hidden), plain * anatomy.gain(), atol=1e-4, rtol=1e-4)


def test_another_build_is_refused_with_a_sentence():
    config = transformers.GPT2Config(vocab_size=64, n_embd=16, n_layer=2, n_head=2, n_positions=32)
    with pytest.raises(BadInput, match="GPT2LMHeadModel is not built as Llama is"):
        anatomy_of(transformers.GPT2LMHeadModel(config))


def test_a_model_that_norms_what_it_writes_is_not_read_in_the_vocabulary():
    anatomy = anatomy_of(made("Gemma3Text", sliding_window=16))
    with pytest.raises(BadInput, match="norms what its blocks write"):
        anatomy.check_direct()


def test_a_bias_that_would_be_left_behind_is_refused():
    anatomy = anatomy_of(made("Llama", mlp_bias=True))
    anatomy.check_unbiased(("q", "o"))
    with pytest.raises(BadInput, match="down of layer 0 adds a bias"):
        anatomy.check_unbiased(WRITING)
