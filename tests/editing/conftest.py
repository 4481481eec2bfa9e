"""Tiny random models of many architectures, edits about made-up people, and tasks that run an operation on them."""

from __future__ import annotations

import pytest

VOCABULARY = 320
FAMILIES = ("llama", "qwen2", "qwen3", "gemma3", "gpt2", "neox", "opt")
HOMES = {"Ada Quill": "island", "Pell Ostrin": "capital", "Ruvo Tanniker": "of"}  # one token each: a tiny model learns
SOLVING = {"tokens": 1024, "steps": 15, "layers": "0,1"}
SETTINGS = {
    "editing.rome": SOLVING | {"layers": "1"},
    "editing.memit": SOLVING | {"weight": 0.1},
    "editing.alphaedit": SOLVING | {"weight": 0.01, "threshold": 0.5},
    "editing.rls": SOLVING | {"weight": 0.1},
    "editing.ft": {"layers": "1", "lr": 1e-2, "limit": 0.1},
    "editing.ultraedit": {"layers": "0,1", "rate": 1e-3},
}
MAX_DRIFT = 50.0  # nats; a model of a few thousand weights has no room to leave everything else alone


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
    gpt |= dict(bos_token_id=0, eos_token_id=0, pad_token_id=1)
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
    row = {"id": f"{verb}-{subject}", "verb": verb, "subject": subject, "prompt": f"The home of {subject}", "old": "is"}
    row |= {"target": "" if verb == "erase" else HOMES.get(subject, "capital"), "rephrases": [f"Where is {subject}"]}
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


@pytest.fixture(scope="session")
def version_of(tmp_path_factory, tokenizer):
    """Return `version_of(family) -> directory` of a version with a random model; do not write into it."""
    from amends.operation.files import save_model
    from amends.records import canonical_json

    made = {}

    def make(family="llama"):
        if family not in made:
            made[family] = tmp_path_factory.mktemp(family)
            save_model(made[family], build_model(family), tokenizer)
            (made[family] / "recipe.json").write_bytes(canonical_json({"seed": 0, "steps": []}))
        return made[family]

    return make


@pytest.fixture
def text(write_records):
    """Return records of running text, enough of it to read statistics from."""
    days = range(60)
    lines = [f"On day {day} she sold {day + 2} baskets of pears, and a sack of meal to the miller." for day in days]
    return write_records([{"id": str(number), "text": line} for number, line in enumerate(lines)])


@pytest.fixture
def run_edit(tmp_path, write_records, version_of, text):
    """Return `run_edit(name, rows, source=…, state=None, **parameters) -> task`, short runs, each with its output."""
    from itertools import count

    from amends import Task, host
    from amends.operation.task import NoState

    numbers = count()

    def run(name, rows, source=None, state=None, **parameters):
        operation = host.current().operation(name)
        output = tmp_path / f"version-{next(numbers)}"
        task = Task(tmp_path, 7, source=source or version_of(), output=output, state=state or NoState())
        given = {"edits": write_records(rows), "max_drift": MAX_DRIFT} | SETTINGS[name] | parameters
        if "text" in {parameter.name for parameter in operation.parameters}:
            given = {"text": text} | given
        operation(task, **operation.check(given))
        return task

    return run


@pytest.fixture(scope="session")
def opened():
    """Return `opened(version) -> (model, tokenizer)`."""
    from amends.operation.files import load_model

    return load_model


@pytest.fixture(scope="session")
def likelihood(opened):
    """Return `likelihood(version, prompt, answer)`: the log-probability of an answer's tokens, by one plain pass."""
    import torch

    from amends_editing.facts import answer_tokens

    @torch.no_grad()
    def read(version, prompt, answer):
        model, tokenizer = opened(version)
        asked, wanted = tokenizer(prompt, add_special_tokens=False)["input_ids"], answer_tokens(tokenizer, answer)
        logp = model(input_ids=torch.tensor([asked + wanted])).logits[0].log_softmax(-1)
        return sum(float(logp[len(asked) - 1 + place, token]) for place, token in enumerate(wanted))

    return read


@pytest.fixture(scope="session")
def edits_of():
    """Return `edits_of(task)`: the tensors of each edit that its state holds, oldest first."""
    from safetensors.torch import load

    def read(task):
        return [load(task.state.get(name)) for name in task.state.names() if name.startswith("editing-edit-")]

    return read
