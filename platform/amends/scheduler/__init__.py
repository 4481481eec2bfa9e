"""Run operations and probes by name, here or on a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amends.errors import BadInput
from amends.scheduler.handles import Handle, Scheduler
from amends.scheduler.jobs import Job, JobResult

__all__ = ["Handle", "Job", "JobResult", "Scheduler", "open_scheduler"]


def open_scheduler(name: str, cache_directory: Path, settings: Mapping[str, Any] | None = None) -> Scheduler:
    """Open a scheduler by its name.

    Args:
        name: `inline` or `ray`.
        cache_directory: Where this machine keeps copies of trees and records.
        settings: Keyword arguments of that scheduler, such as `cpus`, `gpus` or `address`.

    Raises:
        BadInput: There is no scheduler of that name.
    """
    if name == "inline":
        from amends.scheduler.inline import InlineScheduler

        return InlineScheduler(cache_directory, **dict(settings or {}))
    if name == "ray":
        from amends.scheduler.on_ray import RayScheduler

        return RayScheduler(cache_directory, **dict(settings or {}))
    raise BadInput(f"there is no scheduler {name!r}; use inline or ray")
