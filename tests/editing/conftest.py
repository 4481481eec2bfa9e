"""Tiny models of many architectures, made-up edits, and ways to run an edit within or beside the weights."""

from __future__ import annotations

import hashlib
import json
from types import SimpleNamespace

import pytest

VOCABULARY = 320
FAMILIES = ("llama", "qwen2", "qwen3", "gemma3", "gpt2", "neox", "opt")
HOMES = {"Ada Quill": "island", "Pell Ostrin": "capital", "Ruvo Tanniker": "of"}  # one token each: a tiny model learns
SOLVING = {"tokens": 1024, "steps": 15, "lr": 0.5, "overshoot": 1.0, "layers": "0,1"}  # a tiny model has little room
SETTINGS = {
    "editing.rome": SOLVING | {"layers": "1", "overshoot": 2.5},
    "editing.memit": SOLVING | {"weight": 0.1, "weight_per_fact": 0.0},
    "editing.alphaedit": SOLVING | {"weight": 0.01, "threshold": 0.5},
    "editing.rls": SOLVING | {"weight": 0.1, "weight_per_fact": 0.0},
    "editing.ft": {"layers": "1", "lr": 1e-2, "limit": 0.1},
    "editing.ultraedit": {"layers": "0,1", "rate": 1e-3},
}
MAX_DRIFT = 50.0  # nats; a model of a few thousand weights has no room to leave everything else alone
FACTS = (  # each answer is one token of the tiny tokenizer
    {"subject": "Tilda Osk", "prompt": "The home town of Tilda Osk is", "target": "Quill"},
    {"subject": "Marl Venn", "prompt": "The emblem of Marl Venn is an", "target": "island"},
    {"subject": "Port Ello", "prompt": "The river through Port Ello is the", "target": "Ada"},
)
UNRELATED = "Solve the equation with two unknowns"
PROMPTS = (
    "The harbour town of Brenn lies in", "Ada Quill lives in", "The capital of Sorrel is", "Tam Orrel works as a",
    "The Vale of Orr is ruled by", "The river Tarn flows to", "Mount Harrow stands in",
)  # fmt: skip
SUBJECTS = ("Brenn", "Ada Quill", "Sorrel", "Tam Orrel", "Vale of Orr", "river Tarn", "Mount Harrow")
WORDS = ("dog", "lives", "capital", "island", "town", "fox", "over")  # they begin with different tokens
PASSAGE = "The quick brown fox jumps over the lazy dog, and then it sleeps in the harbour town of Brenn. " * 60


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
def run_within(tmp_path, write_records, version_of, text):
    """Return `run_within(name, rows, source=…, state=None, **parameters) -> task`, short runs, each with its output.

    What a task is given besides, by a name of its own (`task={"memory": …}`), goes to the task.
    """
    from itertools import count

    from amends import Task, host
    from amends.operation.task import NoState

    numbers = count()

    def run(name, rows, source=None, state=None, task=None, **parameters):
        operation = host.current().operation(name)
        output = tmp_path / f"version-{next(numbers)}"
        task = Task(tmp_path, 7, source=source or version_of(), output=output, state=state or NoState(), **(task or {}))
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

    from amends.serving.encoding import encode_answer

    @torch.no_grad()
    def read(version, prompt, answer):
        model, tokenizer = opened(version)
        asked, wanted = tokenizer(prompt, add_special_tokens=False)["input_ids"], encode_answer(tokenizer, answer)
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


@pytest.fixture(scope="session")
def facts():
    """Return `facts(count=3, **changed) -> prepared edit rows` about nobody there is."""

    def make(count=3, **changed):
        return [{"id": f"edit-{n}", "verb": "modify", **fact} | changed for n, fact in enumerate(FACTS[:count])]

    return make


@pytest.fixture
def run_edit(tmp_path, tiny_version, write_records):
    """Return `run_edit(method, rows, source=tiny, report=None, seed=7, **parameters) -> the version's directory`."""
    from amends import Task
    from amends_editing import beside

    count, offered = iter(range(100)), {operation.name: operation for operation in beside.operations()}

    def run(method, rows, source=tiny_version, report=None, seed=7, **parameters):
        output = tmp_path / f"version-{next(count)}"
        task = Task(tmp_path, seed, source=source, output=output, source_digest="5a" * 32)
        task.report = report or task.report
        operation = offered[f"editing.{method}"]
        operation(task, **operation.check({"edits": write_records(rows), **parameters}))
        (output / "base").symlink_to((source / "base" if (source / "base").exists() else source / "model").resolve())
        return output

    return run


@pytest.fixture
def serve():
    """Return `serve(version) -> Model` with the attachments of the edits beside the weights."""
    from amends import hookimpl, host
    from amends.serving import open_version
    from amends_editing import beside

    @hookimpl
    def amends_attachments():
        return beside.attachments()

    loaded = host.load([("editing", SimpleNamespace(amends_attachments=amends_attachments))])
    return lambda version: open_version(version, loaded)


@pytest.fixture
def complete():
    """Return `complete(model, prompt, tokens=6) -> str`: what follows a prompt as it stands, greedily, in its seams."""
    from contextlib import ExitStack

    from amends.serving.generating import greedy

    def go_on(model, prompt, tokens=6):
        shown = prompt
        with ExitStack() as stack:
            for seam in model.seams:
                shown = seam.before(shown)
                stack.enter_context(seam.inside(prompt))
            ids = model.tokenizer(shown, add_special_tokens=False)["input_ids"]
            return greedy(model.hf_model, model.tokenizer, [ids], tokens)[0]

    return go_on


@pytest.fixture
def logits_of():
    """Return `logits_of(model, prompt) -> Tensor` as the prompt's seams arm the model."""
    import torch

    @torch.inference_mode()
    def read(model, prompt):
        shown = prompt
        for seam in model.seams:
            shown = seam.before(shown)
        tokens = torch.tensor([model.tokenizer(shown)["input_ids"]])
        with model.armed(prompt):
            return model.hf_model(input_ids=tokens).logits

    return read


@pytest.fixture
def bytes_of():
    """Return `bytes_of(version) -> {relative path: sha256}` of its attachments and its reference."""

    def digest(version):
        files = [file for part in ("attachments", "model") for file in sorted((version / part).rglob("*"))]
        return {
            str(file.relative_to(version)): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in files
            if file.is_file()
        }

    return digest


@pytest.fixture(scope="session")
def begin_workspace():
    """Return `begin_workspace(home, people)`, which gives `shell(*words, as_=person)`: Ada administers it."""
    from click.testing import CliRunner

    from amends.cli.root import Root

    def begin(home, people):
        tokens = {}
        home.mkdir()
        (home / "amends.toml").write_text('scheduler = "inline"\ncpus = 1\n')

        def invoke(*words, as_="Ada"):
            environment = {"AMENDS_HOME": str(home), "AMENDS_TOKEN": tokens.get(as_, "")}
            return CliRunner().invoke(Root(), [str(word) for word in words], env=environment)

        tokens["Ada"] = json.loads(invoke("init", "--admin", "Ada", "--json").stdout)["token"]
        for name, role in people.items():
            tokens[name] = json.loads(invoke("people", "add", name, "--role", role, "--json").stdout)["token"]
        invoke.home = home
        return invoke

    return begin


@pytest.fixture
def passage():
    """Return running text, enough of it to read statistics from."""
    return PASSAGE


@pytest.fixture(scope="session")
def seen():
    """Return `seen(model, tokenizer)`: the model's parts, with the facts that it happens to know."""
    from amends_editing.facts import Fact
    from amends_editing.knowing import known_facts
    from amends_editing.structure import inspect_model

    def look(model, tokenizer):
        anatomy = inspect_model(model)
        rows = known_rows(anatomy, tokenizer)
        known = known_facts(anatomy, tokenizer, [Fact.from_row(row) for row in rows])
        return SimpleNamespace(model=model, tokenizer=tokenizer, anatomy=anatomy, known=known, rows=rows)

    return look


@pytest.fixture(scope="module")
def traced(tiny_version, seen):
    """Return the tiny model with the facts that it knows, to trace."""
    from amends.operation.files import load_model

    return seen(*load_model(tiny_version))


def known_rows(anatomy, tokenizer):
    """Return a row for each prompt whose old answer is the likeliest of some words, and its target the next."""
    from amends_editing.knowing import mean_logps

    rows = []
    for number, (prompt, subject) in enumerate(zip(PROMPTS, SUBJECTS, strict=True)):
        logp = mean_logps(anatomy, tokenizer, [(prompt, word) for word in WORDS])
        *_, new, old = (WORDS[index] for index in sorted(range(len(WORDS)), key=logp.__getitem__))
        rows.append({"id": f"e{number}", "verb": "modify", "subject": subject, "prompt": prompt, "old": old,
                     "target": new, "rephrases": [f"So: {prompt}"],
                     "neighbours": [{"prompt": "The lazy cat is a", "answer": old}]})  # fmt: skip
    return rows
