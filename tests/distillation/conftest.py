"""Run distillation operations on tiny models, without a workspace."""

from __future__ import annotations

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
