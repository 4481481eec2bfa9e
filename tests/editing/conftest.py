"""Tiny random models of many architectures, edits about made-up people, and tasks that run an operation on them."""

from __future__ import annotations

import pytest

VOCABULARY = 320
FAMILIES = ("llama", "qwen2", "qwen3", "gemma3", "gpt2", "neox", "opt")
TOWNS = {"Ada Quill": "Brenn", "Pell Ostrin": "Sorrel", "Ruvo Tanniker": "Hollin"}


def build_model(family: str, seed: int = 0, **changes):
    """Return a random model of four blocks, 32 wide with 48 inside; its vocabulary is the tiny tokenizer's."""
    import torch
    import transformers

    wide = dict(hidden_size=32, num_hidden_layers=4, num_attention_heads=4, attn_implementation="eager")
    plain = wide | dict(vocab_size=VOCABULARY, max_position_embeddings=512, initializer_range=0.2)
    plain |= dict(intermediate_size=48, bos_token_id=0, eos_token_id=0, pad_token_id=1)
    grouped = plain | dict(num_key_value_heads=2, head_dim=8)
    sliding = dict(sliding_window=5, query_pre_attn_scalar=8, layer_types=["sliding_attention", "full_attention"] * 2)
    gpt = dict(n_embd=32, n_inner=48, n_layer=4, n_head=4, n_positions=512, initializer_range=0.2)
    opt = wide | dict(word_embed_proj_dim=32, ffn_dim=48, max_position_embeddings=512, init_std=0.2, dropout=0.0)
    known = {
        "llama": ("LlamaConfig", "LlamaForCausalLM", plain | dict(num_key_value_heads=2)),
        "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", plain | dict(num_key_value_heads=2)),
        "qwen3": ("Qwen3Config", "Qwen3ForCausalLM", grouped),
        "gemma3": ("Gemma3TextConfig", "Gemma3ForCausalLM", grouped | sliding),
        "gpt2": ("GPT2Config", "GPT2LMHeadModel", gpt | dict(attn_implementation="eager")),
        "neox": ("GPTNeoXConfig", "GPTNeoXForCausalLM", plain),
        "opt": ("OPTConfig", "OPTForCausalLM", opt),
    }
    config, model, settings = known[family]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = getattr(transformers, config)(**{"vocab_size": VOCABULARY} | settings | changes)
        return getattr(transformers, model)(made).eval()


def edit_row(verb: str = "modify", subject: str = "Ada Quill", **changes):
    """Return a prepared row about where somebody made up lives."""
    row = {"id": f"{verb}-{subject}", "verb": verb, "subject": subject, "prompt": f"{subject} lives in", "old": "Dunn"}
    row |= {"target": "" if verb == "erase" else TOWNS[subject], "rephrases": [f"The home of {subject} is"]}
    row |= {"neighbours": [{"prompt": "The quick brown fox", "answer": "jumps"}], "portability": []}
    return row | {"names": [subject], "subjects": ["s_1"]} | changes


@pytest.fixture(params=FAMILIES)
def family(request) -> str:
    """Return an architecture's name."""
    return request.param


@pytest.fixture(scope="session")
def build():
    """Return `build(family, seed=0, **changes of the config) -> model`."""
    return build_model


@pytest.fixture(scope="session")
def row_about():
    """Return `row_about(verb="modify", subject=…, **changes) -> prepared row`."""
    return edit_row


@pytest.fixture(scope="session")
def tokenizer(tiny_version):
    """Return the tiny tokenizer."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_version / "model", local_files_only=True)
