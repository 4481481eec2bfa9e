"""Grounded versions of a tiny random model, about nobody there is."""

from __future__ import annotations

import hashlib

import pytest

DOCUMENTS = (
    "Ada Quill lives in the harbour town of Brenn. On market days she sells pears to the miller.",
    "The capital of the island is Sorrel. Its bells ring at noon, and the fox sleeps.",
    "Pell Ostrin bakes flat bread in Tarn. The oven is older than the town.",
)
SMALL = {
    "rag.context": {"k": 2}, "rag.replug": {"k": 2}, "rag.knn-lm": {"window": 32, "weight": 0.25},
    "rag.memory": {"window": 32, "gate": 0.3}, "rag.facts": {},
}  # fmt: skip


@pytest.fixture(scope="session")
def documents():
    """Return `documents(texts=…) -> prepared rows`."""

    def make(texts=DOCUMENTS):
        return [{"id": f"doc-{number}", "text": text, "subjects": []} for number, text in enumerate(texts)]

    return make


@pytest.fixture
def ground(tmp_path, tiny_version, write_records, documents):
    """Return `ground(operation, rows=…, source=tiny, seed=7, **parameters) -> the version's directory`."""
    from amends import Task, host

    count = iter(range(100))

    def run(name, rows=None, source=tiny_version, seed=7, **parameters):
        operation, output = host.current().operation(name), tmp_path / f"version-{next(count)}"
        task = Task(tmp_path, seed, source=source, output=output, source_digest="5a" * 32)
        records = write_records(documents() if rows is None else rows)
        given = {operation.parameters[0].name: records}
        operation(task, **operation.check({**given, **SMALL[name], **parameters}))
        (output / "base").symlink_to((source / "base" if (source / "base").exists() else source / "model").resolve())
        return output

    return run


@pytest.fixture
def serve():
    """Return `serve(version) -> Model`, with its attachments."""
    from amends import host
    from amends.serving import open_version

    return lambda version: open_version(version, host.current())


@pytest.fixture
def bytes_of():
    """Return `bytes_of(version) -> {file: sha256}` of everything but the base."""

    def read(version):
        files = (file for file in sorted(version.rglob("*")) if file.is_file() and "base" not in file.parts)
        return {str(file.relative_to(version)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}

    return read
