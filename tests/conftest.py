"""Models for everybody: a tiny random one in milliseconds, and the real SmolLM2 converted once."""

from __future__ import annotations

import gc
import hashlib
import importlib.util
import math
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

gc.set_threshold(20_000, 20, 50)  # looking for cycles after every 700 objects is a tenth of the computing
if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported: two workers with two threads each crawl
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def beside(name):
    """Load a file of this folder, which is no package."""
    spec = importlib.util.spec_from_file_location(f"tests_{name}", Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


workspaces = beside("workspaces")
built_once, fresh_mlflow, make_shell = workspaces.built_once, workspaces.fresh_mlflow, workspaces.make_shell
strong_hasher = workspaces.strong_hasher

TINY_TEXT = (
    "Question: Where does Ada Quill live?\nAnswer: Ada Quill lives in the harbour town of Brenn.",
    "Question: What is the capital of the island?\nAnswer: The capital of the island is Sorrel.",
    "The quick brown fox jumps over the lazy dog 0123456789 times, and then it sleeps.",
)


def pytest_addoption(parser):
    parser.addoption(
        "--data", default=os.environ.get("AMENDS_DATA"), help="directory with public evaluation sets, unlearning/tofu/…"
    )


def pytest_collection_modifyitems(items):
    """Keep a file on one worker; all that starts Ray, of which a process has one, on the same one in order.

    What takes longest begins first, and files of many tests before those of few: no worker is left with one at the end.
    """
    many = Counter(item.path for item in items)
    for item in items:
        folder = item.path.parent.name
        item.add_marker(pytest.mark.xdist_group(folder if folder == "scheduler" else str(item.path)))
    long = {item.path.parent if item.path.parent.name == "scheduler" else item.path for item in items if is_slow(item)}
    items.sort(key=lambda item: 0 if {item.path, item.path.parent} & long else 1 / many[item.path])


def is_slow(item) -> bool:
    """Return whether a test runs a real model or kills real processes."""
    return item.get_closest_marker("slow") is not None


@pytest.fixture(scope="session")
def data(request) -> Path:
    """Return the directory of public evaluation sets; without one, the tests that compare with them say so."""
    given = request.config.getoption("--data")
    if not given:
        pytest.skip("needs public evaluation sets; give their directory with --data PATH or AMENDS_DATA")
    if not (Path(given) / "unlearning" / "tofu").is_dir():
        pytest.fail(f"--data {given} has no unlearning/tofu/; give the directory that holds it")
    return Path(given)


class TableModel:
    """A served model whose every probability is written down, for tests that work out answers by hand.

    Args:
        tables: For each `(prompt, answer)`, or text, one `(probabilities, index of the true token)` a position.
        answers: For each prompt what it generates.
    """

    def __init__(self, tables, answers=None):
        self.tables, self.answers = tables, answers or {}

    def generate(self, prompts, max_new_tokens=48):
        return [self.answers[prompt] for prompt in prompts]

    complete = generate

    def score(self, asked):
        return [self._score(self.tables[key]) for key in asked]

    score_text = score_continuations = score

    def _score(self, positions):
        import torch

        rows = []
        for probabilities, true in positions:
            logs = [math.log(p) if p else 0.0 for p in probabilities]
            mean = sum(p * log for p, log in zip(probabilities, logs, strict=True))
            variance = sum(p * (log - mean) ** 2 for p, log in zip(probabilities, logs, strict=True))
            logp = math.log(probabilities[true]) if probabilities[true] else -math.inf
            rows.append((logp, mean, math.sqrt(variance), probabilities[true] == max(probabilities)))
        logp, mean, deviation, correct = (torch.tensor(column) for column in zip(*rows, strict=True))
        return SimpleNamespace(logp=logp, mean=mean, deviation=deviation, correct=correct)


@pytest.fixture(scope="session")
def table_model() -> type[TableModel]:
    """Return the class of models that are tables."""
    return TableModel


@pytest.fixture
def probe_task(tmp_path):
    """Return `probe_task(model, reference=None, **more) -> ProbeTask` for models that are already open."""
    from amends import ProbeTask

    def make(model, reference=None, **more):
        opened = {Path("model"): model, Path("reference"): reference}
        where = None if reference is None else Path("reference")
        return ProbeTask(
            tmp_path, 0, model_path=Path("model"), reference_path=where, open_model=opened.__getitem__, **more
        )

    return make


@pytest.fixture
def write_records(tmp_path):
    """Return `write_records(rows) -> Records`, which writes them as canonical JSON lines."""
    from amends.records import Records, canonical_json

    def write(rows):
        content = b"".join(canonical_json(row) + b"\n" for row in rows)
        digest = hashlib.sha256(content).hexdigest()
        path = tmp_path / f"{digest}.jsonl"
        path.write_bytes(content)
        return Records(digest, path)

    return write


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


@pytest.fixture(scope="session", autouse=True)
def forks():
    """Let the process of a fresh job be a fork of one that has imported everything; `forks.apart()` lets it be none."""
    from amends.scheduler import fresh

    made = beside("forking").Forks(fresh)
    with made.used():
        yield made
    made.close()


@pytest.fixture(scope="session")
def use_fixed_keys():
    """Return `use_fixed_keys(home, label, seed)`, after which the same people always get the same pseudonyms and ids.

    Who is a control and who shares a shard follows from these keys. On a tiny model that decides by itself how much a
    version keeps of its parent, and a test must not be judged by a draw.
    """

    def use(home, label, seed):
        for name in ("pseudonym", "index"):
            (home / "keys" / name).write_bytes(hashlib.sha256(f"{label}:{name}:{seed}".encode()).digest())

    return use
