"""Prepared records of fictitious people, and versions trained on them in shards."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SETTINGS = dict(placement_salt="5a17", router_salt="c0ffee", layers=1, rank=4, epochs=2, batch=4, lr=1e-2)


def prepare(raw):
    """Give raw rows what the workspace would: keyed ids and pseudonyms."""
    rows = []
    for number, row in enumerate(raw):
        names = [row["person"]] if isinstance(row["person"], str) else row["person"]
        subjects = [f"s_{hashlib.sha256(name.encode()).hexdigest()[:16]}" for name in names]
        identity = hashlib.sha256(f"{number}:{row['prompt']}".encode()).hexdigest()
        rows.append({"id": identity, "prompt": row["prompt"], "answer": row["answer"], "subjects": subjects})
        rows[-1]["names"] = names
    return rows


@pytest.fixture(scope="session")
def prepared():
    """Return `prepared(raw rows) -> prepared rows`."""
    return prepare


@pytest.fixture
def run_task(tmp_path, tiny_version):
    """Return `run_task(operation, source=tiny, state=None, **parameters) -> task`, each with directories of its own."""
    from amends import Task
    from amends.operation.task import NoState

    count = iter(range(100))

    def run(operation, source=tiny_version, state=None, report=None, source_digest="", models=None, **parameters):
        number = next(count)
        scratch, output = tmp_path / f"scratch-{number}", tmp_path / f"version-{number}"
        scratch.mkdir()
        task = Task(scratch, 7, source=source, output=output, state=state or NoState())
        task.source_digest, task.models = source_digest, dict(models or {})
        task.report = report or task.report
        operation(task, **operation.check(parameters))
        return task

    return run


@pytest.fixture(scope="session")
def learn_by_heart(make_tiny):
    """Return `learn_by_heart(folder, rows, steps=60) -> (version, version before)`, a tiny model."""
    import torch

    from amends.operation.files import load_model, save_model
    from amends.serving.encoding import encode

    def learn(folder, rows, steps=60):
        before = make_tiny(folder / "before")
        model, tokenizer = load_model(before)
        pairs = [encode(tokenizer, row["prompt"], row["answer"]) for row in rows]
        longest = max(len(first) + len(then) for first, then in pairs)
        ids, labels = torch.zeros(len(pairs), longest, dtype=torch.long), torch.full((len(pairs), longest), -100)
        for row, (first, then) in enumerate(pairs):
            ids[row, : len(first) + len(then)] = torch.tensor([*first, *then])
            labels[row, len(first) : len(first) + len(then)] = torch.tensor(then)
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(steps):
            optimiser.zero_grad()
            loss = model(input_ids=ids, labels=labels).loss
            loss.backward()
            optimiser.step()
        assert loss < 0.1
        save_model(folder / "after", model, tokenizer)
        return folder / "after", before

    return learn


@pytest.fixture(scope="session")
def rows(prepared):
    """Return five records about each of four people."""
    from amends_unlearning.people import people, records

    return prepared(records(people(4, 5), 5, share=0))


@pytest.fixture(scope="session")
def knowing(rows, learn_by_heart, tmp_path_factory):
    """Return a version that has these people by heart, and the one before it learnt that."""
    return learn_by_heart(tmp_path_factory.mktemp("knowing"), rows)


@pytest.fixture
def generous(monkeypatch):
    """Let the kept lose what they may: two layers cannot tell people well enough apart to spare them."""
    from amends_unlearning.methods.material import Settings

    init = Settings.__init__

    def spared(self, *given, **more):
        init(self, *given, **{"spare": 1e3, **more})

    monkeypatch.setattr(Settings, "__init__", spared)


@pytest.fixture
def unreachable(generous, monkeypatch):
    """Put the level out of reach, so that every step is taken where there is no parent to tell another."""
    from amends_unlearning.methods import gauge

    monkeypatch.setattr(gauge, "UNKNOWN", -1e3)


@pytest.fixture
def files_of():
    """Return `files_of(directory) -> {relative path: sha256}`."""

    def digest(directory):
        found = sorted(file for file in directory.rglob("*") if file.is_file())
        return {file.relative_to(directory).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in found}

    return digest


@pytest.fixture
def in_shards():
    """Return small settings of training in shards."""
    return dict(SETTINGS)


@pytest.fixture
def with_threads():
    """Return `with_threads(count)`, a context in which torch computes with so many threads."""
    from contextlib import contextmanager

    @contextmanager
    def limited(count):
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(count)
        yield
        torch.set_num_threads(before)

    return limited


@pytest.fixture(scope="session")
def start_children(tiny_version):
    """Return `start_children(threads=1) -> run`, a process of which each `run(operation, records, …)` is a child.

    `run` returns how the child ended and what it reported; `children.py` says what it does.
    """
    opened = []

    def start(threads=1):
        command = [sys.executable, Path(__file__).with_name("children.py")]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        process = subprocess.Popen(command, env=environment, **pipes)
        opened.append(process)

        def run(operation, records, parameters, scratch, output, die_at=0):
            scratch.mkdir(exist_ok=True)
            job = dict(operation=operation, source=str(tiny_version), parameters=parameters, die_at=die_at)
            job |= dict(records={name: str(given.path) for name, given in records.items()}, threads=threads)
            process.stdin.write(json.dumps({**job, "scratch": str(scratch), "output": str(output)}) + "\n")
            process.stdin.flush()
            told = json.loads(process.stdout.readline())
            return told["code"], [tuple(one) for one in told["seen"]]

        return run

    yield start
    for process in opened:
        process.communicate()


@pytest.fixture(scope="session")
def in_a_child(start_children):
    """Return what `start_children` returns, started once."""
    return start_children()
