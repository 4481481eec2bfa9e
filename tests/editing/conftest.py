"""Made-up facts, a way to run an edit that stands beside the weights, and a way to serve what it made."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace

import pytest

FACTS = (  # each answer is one token of the tiny tokenizer
    {"subject": "Tilda Osk", "prompt": "The home town of Tilda Osk is", "target": "Quill"},
    {"subject": "Marl Venn", "prompt": "The emblem of Marl Venn is an", "target": "island"},
    {"subject": "Port Ello", "prompt": "The river through Port Ello is the", "target": "Ada"},
)
UNRELATED = "Solve the equation with two unknowns"


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
