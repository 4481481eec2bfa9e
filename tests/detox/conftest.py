"""Pairs of rude and civil sentences, tiny models of two builds, and a way to run an operation on them."""

from __future__ import annotations

import itertools

import pytest

RUDE = ("stupid", "rotten", "useless", "filthy", "hopeless", "nasty")
CIVIL = ("pleasant", "careful", "useful", "tidy", "hopeful", "gentle")
THINGS = ("fox", "dog", "capital", "harbour", "island", "town")
SHORT = {"steps": 4, "lr": 5e-3, "rank": 2, "layers": 1, "batch": 2}
SETTINGS = {
    "detox.steer": {"layer": "0"},
    "detox.project": {"layers": "0,1", "rank": 2},
    "detox.negate": SHORT,
    "detox.dpo": SHORT,
    "detox.dinm": {"steps": 2, "lr": 1e-3},
}


def rows_of(count: int = 6, prompt: str = ""):
    """Return prepared pairs: what is said of a thing, rudely and civilly."""
    rows = []
    for number, (rude, civil, thing) in enumerate(zip(RUDE, CIVIL, THINGS, strict=True)):
        said = "is a {} thing of no use" if prompt else f"the {thing} is a {{}} thing of no use"
        row = {"id": f"pair-{number}", "subjects": [], "names": []}
        row |= {"prompt": f"{prompt} {thing}" if prompt else "", "toxic": said.format(rude)}
        rows.append(row | {"neutral": said.format(civil)})
    return rows[:count]


def write_build(directory, build: str, tokenizer):
    """Write a version with a random model of two blocks, built as one of the families is."""
    import torch
    import transformers

    from amends.operation.files import save_model

    shared = dict(vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=0, pad_token_id=1, initializer_range=0.2)
    wide = shared | dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4)
    config, model, settings = {
        "llama": ("LlamaConfig", "LlamaForCausalLM", wide | dict(num_key_value_heads=2)),
        "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", wide | dict(num_key_value_heads=2)),
        "neox": ("GPTNeoXConfig", "GPTNeoXForCausalLM", wide),
        "gemma3": ("Gemma3TextConfig", "Gemma3ForCausalLM", wide | dict(num_key_value_heads=2, head_dim=8)),
        "gpt2": ("GPT2Config", "GPT2LMHeadModel", shared | dict(n_embd=32, n_layer=2, n_head=4, n_positions=256)),
    }[build]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        made = getattr(transformers, model)(getattr(transformers, config)(**settings)).eval()
        for name, parameter in made.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(parameter, std=0.1)
    save_model(directory, made, tokenizer)
    return directory


@pytest.fixture(scope="session")
def detox_rows():
    """Return `detox_rows(count=6, prompt="") -> prepared pairs`."""
    return rows_of


@pytest.fixture(scope="session")
def tiny_words(tiny_version):
    """Return the tiny tokenizer."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_version / "model", local_files_only=True)


@pytest.fixture(scope="session")
def built(tmp_path_factory, tiny_words):
    """Return `built(family) -> directory` of a version with a random model; do not write into it."""
    made = {}

    def make(family: str):
        if family not in made:
            made[family] = write_build(tmp_path_factory.mktemp(family), family, tiny_words)
        return made[family]

    return make


@pytest.fixture
def run_detox(tmp_path, built, write_records):
    """Return `run_detox(name, rows, retain=None, source=…, **parameters) -> task`, run in directories of its own."""
    from amends import Task
    from amends_detox.changing import operations

    offered, count = {operation.name: operation for operation in operations()}, itertools.count()

    def run(name, rows, retain=None, source=None, seed=7, report=None, **parameters):
        number = next(count)
        task = Task(tmp_path / f"scratch-{number}", seed, source=source or built("llama"))
        task.output = tmp_path / f"version-{number}"
        task.scratch.mkdir()
        task.report = report or task.report
        given = {"pairs": write_records(rows), **SETTINGS[name], **parameters}
        if retain is not None:
            given["retain"] = write_records(retain)
        offered[name](task, **offered[name].check(given))
        return task

    return run


@pytest.fixture(scope="session")
def weights_of():
    """Return `weights_of(version) -> tensors by name`, as they lie in its files."""
    from amends.operation.files import stream_tensors

    return lambda version: dict(stream_tensors(version))
