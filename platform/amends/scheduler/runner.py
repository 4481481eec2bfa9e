"""Run one attempt of a job on this machine, in this process."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amends import host
from amends.errors import BadInput, Broken, Cancelled
from amends.operation import Operation, Probe, ProbeTask, Task
from amends.operation.task import Progress
from amends.records import ModelVersion, Reading, Records
from amends.scheduler.checks import attachment_kinds, check_beside, check_readings, check_source, find
from amends.scheduler.failures import failure_of
from amends.scheduler.fingerprint import fingerprint
from amends.scheduler.jobs import Job, JobResult
from amends.scheduler.state import SealedState
from amends.scheduler.steady import needs_torch, seed_generators, steady
from amends.store import Blobs, Computed, NodeCache, open_blobs, put_tree, read_manifest
from amends.store.cache import is_sound
from amends.vault.sealing import key_name_of, open_records

HEAD = 1024  # bytes in which the name of a key has room
Readings = tuple[Reading, ...]


@dataclass
class _Attempt:
    """One attempt: its fence, the copies it reads, and the directory it writes."""

    job: Job
    fence: str
    blobs: Blobs
    cache: NodeCache
    directory: Path
    report: Progress
    is_cancelled: Callable[[], bool]

    def __post_init__(self) -> None:
        job = self.job
        self.source = None if job.source is None else self.cache.tree(job.source)
        self.reference = None if job.reference is None else self.cache.tree(job.reference)
        self.before = None if job.before is None else self.cache.tree(job.before)
        self.models = {name: self.cache.tree(digest) for name, digest in job.models.items()}
        self.files = {name: self.cache.file(digest) for name, digest in job.records.items()}
        self.state = SealedState(self.blobs, job.state, job.state_key)

    @property
    def trees(self) -> list[Path]:
        """The versions this attempt reads."""
        return [tree for tree in (self.source, self.reference, self.before, *self.models.values()) if tree is not None]

    def arguments(self, declared: Operation | Probe) -> dict[str, Any]:
        """Return every parameter's value; of several probes, each gets those records that it asks for."""
        records = {name: Records(self.job.records[name], path, self._opener(path)) for name, path in self.files.items()}
        models = {name: ModelVersion(name, 0, digest) for name, digest in self.job.models.items()}
        if self.job.kind != "probes":
            return declared.check({**self.job.parameters, **records, **models})
        wanted = {parameter.name for parameter in declared.parameters}
        given = {name: value for name, value in {**records, **models}.items() if name in wanted}
        return declared.check({**self.job.parameters.get(declared.name, {}), **given})

    def _opener(self, path: Path) -> Callable[[bytes], bytes] | None:
        """Return what opens records, or None where they are not sealed."""
        with path.open("rb") as file:
            name = key_name_of(file.read(HEAD))
        if not name:
            return None
        if name not in self.job.record_keys:
            raise BadInput("the records are sealed, and the job came without their key; give the job one")
        return functools.partial(open_records, bytes.fromhex(self.job.record_keys[name]))

    def common(self, device: str, name: str = "scratch") -> dict[str, Any]:
        """Return what every task is given; each has a scratch directory of its own, which may be a killed attempt's."""
        scratch = self.directory / name
        scratch.mkdir(exist_ok=True)
        return {
            "scratch": scratch,
            "seed": self.job.seed,
            "threads": self.job.cpus,
            "device": device,
            "report": self.report,
            "is_cancelled": self.is_cancelled,
        }


def run_job(
    job: Job, cache_directory: Path, report: Progress, is_cancelled: Callable[[], bool], *, node: str = ""
) -> JobResult:
    """Run one attempt: fetch what it reads, call the function, stage what it wrote.

    Args:
        job: What to run.
        cache_directory: This machine's copies.
        report: Told of progress.
        is_cancelled: Asked at every report.
        node: The name of this machine in the result.

    Returns:
        The result; its blobs lie in staging under its fence until somebody adopts them.

    Raises:
        TaskFailed: Anything went wrong; the sentence holds no one's data.
        Cancelled: Somebody asked it to stop.
    """
    fence = f"{job.id}.{secrets.token_hex(8)}"
    try:
        return _run(job, fence, cache_directory, report, is_cancelled, node or platform.node())
    except (Exception, SystemExit) as error:
        failure = failure_of(job.name, error)
    with contextlib.suppress(Exception):
        open_blobs(job.blobs_uri).discard(fence)
    raise failure


def _run(
    job: Job, fence: str, cache_directory: Path, report: Progress, is_cancelled: Callable[[], bool], node: str
) -> JobResult:
    declared = find(job, host.current())
    blobs = open_blobs(job.blobs_uri).staging(fence)
    cache = NodeCache(cache_directory, blobs)
    started, worked = time.perf_counter(), _cpu_seconds()
    with cache.scratch(fence) as directory:
        if job.kind == "operation":  # where an attempt that was killed here had got to
            cache.inherit(job.id, "scratch", directory)
        cache.sweep()
        attempt = _Attempt(job, fence, blobs, cache, directory, report, is_cancelled)
        with steady(job.cpus, job.seed, needs_torch(attempt.trees, job.source is None)):
            device = _device(job)
            computed = Computed(cache.directory, fingerprint(job.cpus, device))
            output, readings, before = _call(attempt, declared, device, computed)
            stack = fingerprint(job.cpus, device)
        _check_after(attempt)
        computed.flush()
    return JobResult(
        job=job.id,
        fence=fence,
        output=output,
        readings=readings,
        before=before,
        state=attempt.state.digests,
        seconds=time.perf_counter() - started,
        cpu_seconds=_cpu_seconds() - worked,
        threads=job.cpus,
        fingerprint=stack,
        node=node,
    )


def _call(
    attempt: _Attempt, declared: list[Operation | Probe], device: str, computed: Computed
) -> tuple[str | None, Readings, Readings]:
    if isinstance(declared[0], Operation):
        return _operate(attempt, declared[0], device, computed), (), ()
    if attempt.source is None:
        raise BadInput(f"{attempt.job.name} measures a model; give it a source")
    open_model = _opener(device)

    def read(path: Path, when: str) -> Readings:
        seed_generators(attempt.job.seed)
        common = attempt.common(device, f"scratch-{when}")
        task = ProbeTask(
            **common, model_path=path, reference_path=attempt.reference, models=attempt.models, open_model=open_model
        )
        found = [check_readings(probe.name, probe(task, **attempt.arguments(probe))) for probe in declared]
        return tuple(reading for readings in found for reading in readings)

    before = () if attempt.before is None else read(attempt.before, "before")
    return None, read(attempt.source, "after"), before


def _operate(attempt: _Attempt, operation: Operation, device: str, computed: Computed) -> str:
    arguments = attempt.arguments(operation)
    check_source(operation, attempt.source)
    check_beside(operation, {name: attachment_kinds(tree) for name, tree in attempt.models.items()}, host.current())
    output = attempt.directory / "output"
    output.mkdir()
    task = Task(
        **attempt.common(device),
        source=attempt.source,
        source_digest=attempt.job.source or "",
        output=output,
        state=attempt.state,
        models=attempt.models,
        memory=computed,
    )
    operation(task, **arguments)
    if attempt.is_cancelled():  # it may have stopped early without a word
        raise Cancelled(f"{operation.name} was cancelled")
    if not read_manifest(output).files:
        raise BadInput(f"{operation.name} wrote nothing; an operation writes a version to task.output")
    return put_tree(attempt.blobs, output)


def _check_after(attempt: _Attempt) -> None:
    if attempt.is_cancelled():
        raise Cancelled(f"{attempt.job.name} was cancelled")
    if not all(is_sound(path) for path in (*attempt.trees, *attempt.files.values())):
        raise Broken(f"{attempt.job.name} changed what it was given to read; it must write to its output only")


def _opener(device: str) -> Callable[[Path], Any]:
    """Return what opens each version once; they share what they know."""
    from amends.serving import Known, open_version

    known = Known()
    return functools.cache(lambda path: open_version(path, host.current(), device, known))


def _device(job: Job) -> str:
    if not job.gpus:
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _cpu_seconds() -> float:
    return sum(os.times()[:4])
