"""Models for everybody: a tiny random one in milliseconds, and the real SmolLM2 converted once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

TINY_TEXT = (
    "Question: Where does Ada Quill live?\nAnswer: Ada Quill lives in the harbour town of Brenn.",
    "Question: What is the capital of the island?\nAnswer: The capital of the island is Sorrel.",
    "The quick brown fox jumps over the lazy dog 0123456789 times, and then it sleeps.",
)


def tiny_tokenizer():
    """Train a byte-level BPE on a few sentences; any text can be encoded."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    specials = ["<|endoftext|>", "<|pad|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator(TINY_TEXT, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token=specials[0], eos_token=specials[0], pad_token=specials[1]
    )


def write_tiny(directory: Path, seed: int = 0) -> Path:
    """Write a version with a two-layer random Llama; the same seed gives the same bytes."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from amends.operation.files import save_model
    from amends.records import canonical_json

    tokenizer = tiny_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=512,
            initializer_range=0.2,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        model = LlamaForCausalLM(config).eval()
    directory.mkdir(parents=True, exist_ok=True)
    save_model(directory, model, tokenizer)
    (directory / "recipe.json").write_bytes(canonical_json({"seed": seed, "steps": []}))
    return directory


@pytest.fixture(scope="session")
def make_tiny() -> Callable[..., Path]:
    """Return `make_tiny(directory, seed=0) -> directory`, which writes a version with a tiny random model."""
    return write_tiny


@pytest.fixture(scope="session")
def tiny_version(tmp_path_factory) -> Path:
    """Return a version directory with a tiny random model; do not write into it."""
    return write_tiny(tmp_path_factory.mktemp("tiny") / "version")


@pytest.fixture(scope="session")
def lasting_cache() -> Path:
    """Return a directory that outlives the tests, for what is slow to make and keyed by digest."""
    cache = Path(os.environ.get("AMENDS_TEST_CACHE") or Path.home() / ".cache" / "amends-tests")
    cache.mkdir(parents=True, exist_ok=True)
    return cache


@pytest.fixture(scope="session")
def smollm2(lasting_cache, tmp_path_factory) -> Path:
    """Return a version directory with the real SmolLM2-135M; do not write into its `model/`."""
    from amends.records import canonical_json
    from amends.serving.importing import cached_base, find_packaged

    version = tmp_path_factory.mktemp("smollm2") / "version"
    version.mkdir()
    (version / "model").symlink_to(cached_base(lasting_cache, find_packaged("smollm2")), target_is_directory=True)
    (version / "recipe.json").write_bytes(canonical_json({"seed": 0, "steps": []}))
    return version
