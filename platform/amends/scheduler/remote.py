"""What runs inside a worker of Ray: functions of this module alone, called with JSON."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from amends.errors import TaskFailed
from amends.scheduler.board import Line
from amends.scheduler.failures import outcome_of
from amends.scheduler.fresh import run_fresh
from amends.scheduler.jobs import Job, JobResult
from amends.scheduler.quiet import quiet
from amends.scheduler.runner import run_job
from amends.store.cache import purge_copies


def attempt(board: Any, text: str, local_cache: str | None, grace_seconds: float) -> str:
    """Run one attempt and return its outcome as JSON; an exception here means that the worker is broken.

    Args:
        board: The actor that relays progress and cancellation.
        text: The job as JSON, with its key.
        local_cache: The driver's cache directory, where there is only the driver's machine.
        grace_seconds: How long a cancelled fresh job may take to stop before it is killed.
    """
    job = Job.from_json(text)
    if not job.gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Ray leaves it unset, and the job would see every GPU
    line = Line(board, job.id)
    with quiet():
        try:
            outcome: JobResult | TaskFailed = _run(job, node_cache(local_cache), line, grace_seconds)
        except TaskFailed as failure:
            outcome = failure
    line.flush()
    return outcome_of(outcome)


def purge(digests: tuple[str, ...], local_cache: str | None) -> tuple[str, ...]:
    """Purge this node's copies."""
    return purge_copies(node_cache(local_cache), digests)


def node_cache(local: str | None) -> Path:
    """Return this node's own cache: `AMENDS_CACHE`, or the driver's where there is only its machine."""
    named = os.environ.get("AMENDS_CACHE") or local
    return Path(named) if named else Path(tempfile.gettempdir()) / f"amends-{os.getuid()}" / "cache" / _node()


def _run(job: Job, cache: Path, line: Line, grace_seconds: float) -> JobResult:
    if job.fresh:
        return run_fresh(job, cache, line.report, line.is_cancelled, grace_seconds=grace_seconds)
    return run_job(job, cache, line.report, line.is_cancelled, node=_node())


def _node() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id())
