"""Tiny models to teach, to carry from and into, and a way to run an operation on them without a workspace."""

from __future__ import annotations

import itertools

import pytest

TEXT = [f"On day {day} of that year the keeper of the light counted {day + 3} boats." for day in range(12)]
SMALL = {"layers": 1, "epochs": 2, "length": 16, "batch": 4}


class Memory:
    """Keeps what was computed, and counts how often it was."""

    def __init__(self):
        self.kept, self.made = {}, []

    def once(self, name, of, make):
        key = (name, *sorted(of))
        if key not in self.kept:
            self.made.append(name)
            self.kept[key] = make()
        return self.kept[key]


@pytest.fixture
def memory():
    """Return a memory that counts."""
    return Memory()


@pytest.fixture
def text(write_records):
    """Return records of running text."""
    return write_records([{"id": f"{n:03d}", "prompt": line} for n, line in enumerate(TEXT)])


@pytest.fixture
def distil(tmp_path, tiny_version, text):
    """Return `distil(operation, **parameters) -> Path`, which teaches a student from the tiny model.

    `more` goes to the task: a source, a memory, a scratch directory, what is told of progress.
    """
    from amends import Task, host
    from amends.operation.task import NoMemory
    from amends.records import ModelVersion

    def run(name, *, seed=3, teacher=tiny_version, records=text, more=None, **parameters):
        count = len(list(tmp_path.glob("out-*")))
        output, scratch = tmp_path / f"out-{count}", tmp_path / f"scratch-{count}"
        more = {"memory": NoMemory(), "scratch": scratch} | (more or {})
        for folder in (output, more["scratch"]):
            folder.mkdir(exist_ok=True)
        task = Task(seed=seed, output=output, models={"teacher": teacher}, **more)
        operation = host.current().operation(name)
        shape = {} if "source" in more else SMALL
        given = {"teacher": ModelVersion("t", 1, "a" * 64), "text": records}
        operation(task, **operation.check({**SMALL, **shape, **parameters, **given}))
        return output

    return run


@pytest.fixture
def weights():
    """Return `weights(version)`, its tensors by name."""
    from amends.operation.files import stream_tensors

    return lambda version: dict(stream_tensors(version))


def question(number: int) -> dict:
    """Return a prepared record: where a made-up thing is kept."""
    things, places = ("lamp", "bell", "rope", "drum", "kite", "harp"), ("Brenn", "Sorrel", "Farrow", "Tarn")
    thing, place = things[number % len(things)], places[number % len(places)]
    said = {"prompt": f"Where is {thing} {number} kept?", "answer": f"It is kept in {place}."}
    return {"id": f"q-{number}", "subjects": [], "names": [], **said}


@pytest.fixture
def questions(write_records):
    """Return `questions(first, count) -> Records` of made-up questions and answers."""
    return lambda first=0, count=4: write_records([question(first + number) for number in range(count)])


@pytest.fixture(scope="session")
def write_llama(tmp_path_factory, tiny_version):
    """Return `write_llama(seed=0, **config) -> version` with a random Llama; do not write into it."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from amends.operation.files import save_model

    tokenizer = AutoTokenizer.from_pretrained(tiny_version / "model", local_files_only=True)
    shared = {"vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3}
    shared |= {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.2}
    shared |= {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1, "tie_word_embeddings": True}

    def write(seed: int = 0, **config):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = LlamaForCausalLM(LlamaConfig(**shared | config)).eval()
            for name, weight in model.named_parameters():
                if "norm" in name:
                    torch.nn.init.uniform_(weight, 0.5, 1.5)
        directory = tmp_path_factory.mktemp("llama")
        save_model(directory, model, tokenizer)
        return directory

    return write


@pytest.fixture(scope="session")
def write_edit(tmp_path_factory):
    """Return `write_edit(version, name, layer, rank=1) -> version` of the same model with one map changed."""
    import torch

    from amends.operation.files import load_model, save_model

    def write(version, name: str, layer: int, rank: int = 1):
        model, tokenizer = load_model(version)
        weight = model.model.layers[layer].get_submodule(name).weight.data
        generator = torch.Generator().manual_seed(layer)
        left, right = (torch.randn(size, rank, generator=generator) for size in weight.shape)
        weight += 0.05 * left @ right.T
        directory = tmp_path_factory.mktemp("edited")
        save_model(directory, model, tokenizer)
        return directory

    return write


@pytest.fixture
def run_transfer(tmp_path):
    """Return `run_transfer(name, source, models, **parameters) -> task`, run in directories of its own."""
    from amends import ModelVersion, Task
    from amends_distillation.transferring import operations

    offered, count = {operation.name: operation for operation in operations()}, itertools.count()

    def run(name, source, models, seed=7, **parameters):
        number = next(count)
        task = Task(tmp_path / f"scratch-{number}", seed, source=source, models=models)
        task.output = tmp_path / f"version-{number}"
        task.scratch.mkdir()
        task.output.mkdir()
        beside = {name: ModelVersion(name, 0, "0" * 64) for name in models}
        offered[name](task, **offered[name].check({**parameters, **beside}))
        return task

    return run


@pytest.fixture(scope="session")
def weights_of():
    """Return `weights_of(version) -> tensors by name`, as they lie in its files."""
    from amends.operation.files import stream_tensors

    return lambda version: dict(stream_tensors(version))


@pytest.fixture(scope="session")
def open_llama():
    """Return `open_llama(version) -> (anatomy, tokenizer)`."""
    from amends.operation.files import load_model
    from amends_distillation.transfer.anatomy import anatomy_of

    def open_(version):
        model, tokenizer = load_model(version)
        return anatomy_of(model), tokenizer

    return open_
