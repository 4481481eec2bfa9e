"""A third party's plugin on the path of every worker, and one of each scheduler."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from amends import host
from amends.scheduler import Job, open_scheduler
from amends.store import LocalBlobs, put_tree

PLUGIN = '''
"""Toys that a scheduler can be watched with."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import amends
from amends import BadInput, ModelVersion, ProbeTask, Reading, Records, Task

toy = {"verified_by": ["toy.count"]}


def keep(task, name, text):
    (task.output / name).write_text(text)


@amends.operation("toy.copy", **toy)
def copy(task: Task, *, text: str = "", times: int = 1) -> None:
    """Write what the source says, and a text."""
    for done in range(times):
        task.progress(done + 1, times, "copying")
    keep(task, "note.txt", (task.source / "note.txt").read_text() + text + f" seed {task.seed}")


@amends.operation("toy.rows", **toy)
def rows(task: Task, *, forget: Records, teacher: ModelVersion) -> None:
    """Write how many rows there are and what the teacher says."""
    said = (task.models["teacher"] / "note.txt").read_text()
    keep(task, "rows.txt", f"{len(list(forget.rows()))} {said} {teacher.digest}")


@amends.operation("toy.accepting", accepts=["shards"], **toy)
def accepting(task: Task) -> None:
    """Accept shards."""
    keep(task, "note.txt", "accepted")


@amends.operation("toy.fail", **toy)
def fail(task: Task, *, marker: str = "") -> None:
    """Fail with words that quote a record."""
    if marker:
        (Path(marker) / f"{os.getpid()}-{time.monotonic_ns()}").touch()
    raise ValueError("Ada Quill lives in Brenn")


@amends.operation("toy.exit", **toy)
def leave(task: Task) -> None:
    """Try to end the worker."""
    sys.exit("Ada Quill lives in Brenn")


@amends.operation("toy.refuse", **toy)
def refuse(task: Task) -> None:
    """Refuse with a sentence."""
    raise BadInput("three is too many; give two")


@amends.operation("toy.loop", **toy)
def loop(task: Task, *, marker: str) -> None:
    """Train for ever."""
    (Path(marker) / "child").write_text(str(os.getpid()))
    (Path(marker) / "started").touch()
    while True:
        time.sleep(0.01)
        task.progress(1, 2)


@amends.operation("toy.sly", **toy)
def sly(task: Task, *, marker: str) -> None:
    """Stop early without a word."""
    (Path(marker) / "started").touch()
    while not task.cancelled:
        time.sleep(0.01)
    keep(task, "half.txt", "half")


@amends.operation("toy.deaf", **toy)
def deaf(task: Task, *, marker: str) -> None:
    """Wait for a child and never ask."""
    keep(task, "half.txt", "half")
    child = subprocess.Popen(["sleep", "600"])
    (Path(marker) / "child").write_text(str(child.pid))
    (Path(marker) / "started").touch()
    child.wait()


@amends.operation("toy.crash", **toy)
def crash(task: Task, *, marker: str, times: int) -> None:
    """Kill the worker in the first attempts."""
    keep(task, f"attempt-{os.getpid()}.txt", "")
    task.state.put("log", b"attempt")
    tried = len(list(Path(marker).iterdir()))
    (Path(marker) / str(tried)).touch()
    if tried < times:
        os.kill(os.getpid(), signal.SIGKILL)


@amends.operation("toy.resume", **toy)
def resume(task: Task, *, marker: str, times: int) -> None:
    """Go on with what is in the scratch directory, and kill the worker in the first attempts."""
    so_far = task.scratch / "so-far"
    so_far.write_text((so_far.read_text() if so_far.exists() else "") + "x")
    tried = len(list(Path(marker).iterdir()))
    (Path(marker) / str(tried)).touch()
    if tried < times:
        os.kill(os.getpid(), signal.SIGKILL)
    keep(task, "note.txt", so_far.read_text())


@amends.operation("toy.remember", **toy)
def remember(task: Task, *, text: str) -> None:
    """Keep a secret beside what was kept before."""
    before = task.state.get("secret") if "secret" in task.state.names() else b""
    task.state.put("secret", before + text.encode())
    task.state.put("passing", b"1")
    task.state.drop("passing")
    keep(task, "note.txt", "kept")


@amends.operation("toy.meddle", **toy)
def meddle(task: Task) -> None:
    """Write into the source."""
    (task.source / "extra.txt").write_text("mine")
    keep(task, "note.txt", "done")


@amends.operation("toy.nothing", **toy)
def nothing(task: Task) -> None:
    """Write nothing."""


@amends.operation("toy.loud", **toy)
def loud(task: Task, *, needle: str) -> None:
    """Print a record."""
    print(needle, flush=True)
    os.write(2, needle.encode())
    keep(task, "note.txt", "said")


@amends.operation("toy.where", **toy)
def where(task: Task, *, marker: str) -> None:
    """Say which process and which machine's cache this is."""
    lines = [os.getpid(), task.source.parent.parent, os.environ.get("CUDA_VISIBLE_DEVICES"), task.threads, task.device]
    walked = os.walk(task.source.parent.parent)  # which bears that another task's folder vanishes meanwhile
    files = sum(name.endswith(".mark") for _, _, names in walked for name in names)
    (Path(marker) / str(time.monotonic_ns())).write_text(chr(10).join(map(str, [*lines, files])))
    keep(task, "note.txt", "there")


@amends.operation("toy.train", **toy)
def train(task: Task) -> None:
    """Add a little noise to every weight."""
    import torch

    model, tokenizer = task.load()
    generator = torch.Generator().manual_seed(task.seed)
    with torch.no_grad():
        for weights in model.parameters():
            weights += torch.randn(weights.shape, generator=generator) * 0.01 + torch.rand(())
    task.save(model, tokenizer)


@amends.probe("toy.served")
def served(task: ProbeTask) -> list[Reading]:
    """Ask the served model and its reference."""
    import torch

    pair = [("Where?", "Here.")]
    score, against = (model.score(pair)[0].logp.sum() for model in (task.model, task.reference))
    sure = torch.are_deterministic_algorithms_enabled() and torch.get_num_threads() == task.threads
    return [Reading("toy.served/gap", score - against), Reading("toy.served/sure", float(sure))]


@amends.probe("toy.count")
def count(task: ProbeTask, *, factor: float = 1.0) -> list[Reading]:
    """Count what the model says."""
    said = (task.model_path / "note.txt").read_text()
    against = (task.reference_path / "note.txt").read_text() if task.reference_path else ""
    task.progress(1, 1)
    return [
        Reading("toy.count/length", factor * len(said), low=1.0, high=float("inf"), n=len(said), unit="letters"),
        Reading("toy.count/nan", float("nan"), detail={"against": len(against)}),
    ]


@amends.probe("toy.tally")
def tally(task: ProbeTask) -> list[Reading]:
    """Read one."""
    return [Reading("toy.tally", 1)]


@amends.probe("toy.misnamed")
def misnamed(task: ProbeTask) -> list[Reading]:
    """Read under another's name."""
    return [Reading("toy.count/length", 1.0)]


@amends.probe("toy.silent")
def silent(task: ProbeTask) -> list[Reading]:
    """Read nothing."""
    return []


@amends.hookimpl
def amends_operations():
    return [found for found in globals().values() if isinstance(found, amends.Operation)]


@amends.hookimpl
def amends_probes():
    return [count, misnamed, silent, served, tally]
'''


def write_plugin(folder: Path) -> None:
    (folder / "amends_scheduler_probe.py").write_text(PLUGIN)
    information = folder / "amends_scheduler_probe-1.5.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: amends-scheduler-probe\nVersion: 1.5\n")
    (information / "entry_points.txt").write_text("[amends]\nscheduler-probe = amends_scheduler_probe\n")


@pytest.fixture(scope="package", autouse=True)
def plugin(tmp_path_factory, forks):
    """Install the toys for this process, for its children and for Ray's workers; a fresh job's process is real."""
    folder = tmp_path_factory.mktemp("site")
    write_plugin(folder)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), before]))
    sys.path.insert(0, str(folder))
    host._HOST.clear()
    with forks.apart():
        yield folder
    host._HOST.clear()
    sys.path.remove(str(folder))
    os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


@pytest.fixture(scope="package")
def inline(plugin, tmp_path_factory):
    """Return a scheduler in this process."""
    opened = open_scheduler("inline", tmp_path_factory.mktemp("cache"), {"cpus": 2, "gpus": 1, "grace_seconds": 2.0})
    yield opened
    opened.close()


@pytest.fixture(scope="package")
def on_ray(plugin, tmp_path_factory):
    """Return a scheduler on a small Ray of its own, with one GPU that is only counted."""
    opened = open_scheduler("ray", tmp_path_factory.mktemp("cache"), {"cpus": 2, "gpus": 1, "grace_seconds": 2.0})
    yield opened
    opened.close()
    assert [path for path in opened.session_directory.rglob("session_2*") if not path.is_symlink()] == []


@pytest.fixture
def blobs(tmp_path):
    return LocalBlobs(tmp_path / "store")


@pytest.fixture
def source(tmp_path, blobs):
    """Return the tree digest of a version that says hello."""
    (tmp_path / "made").mkdir()
    (tmp_path / "made/note.txt").write_text("hello")
    return put_tree(blobs, tmp_path / "made")


@pytest.fixture
def make_job(blobs, source):
    """Return a function that makes a job of the toys."""
    count = iter(range(1000))

    def make(name: str, *, kind: str = "operation", **given) -> Job:
        settled = {"id": f"job-{next(count)}", "plugin_version": "1.5", "blobs_uri": blobs.uri, "source": source}
        return Job(**{**settled, "kind": kind, "name": name, **given})

    return make


@pytest.fixture
def marker(tmp_path):
    """Return a directory that a toy can leave marks in."""
    (tmp_path / "marks").mkdir()
    return tmp_path / "marks"
