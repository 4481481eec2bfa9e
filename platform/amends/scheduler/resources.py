"""Whether any node could ever run a job, and what it claims there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from amends.errors import Infeasible
from amends.scheduler.jobs import Job


@dataclass(frozen=True)
class Node:
    """What one machine has in all."""

    name: str
    cpus: float
    gpus: float
    memory_gb: float

    def __str__(self) -> str:
        return f"{self.cpus:g} CPUs, {self.gpus:g} GPUs and {self.memory_gb:.1f} GB"


def check_feasible(job: Job, nodes: Sequence[Node]) -> float:
    """Return the GPUs to claim: none where the cluster has none, for the CPUs do the work then.

    Raises:
        Infeasible: No single node has what the job claims; the sentence says what there is.
    """
    if job.gpus > 1 and job.gpus != int(job.gpus):
        raise Infeasible(f"{job.name} claims {job.gpus:g} GPUs; above one, claim a whole number of them")
    gpus = job.gpus if any(node.gpus for node in nodes) else 0.0
    if not any(node.cpus >= job.cpus and node.gpus >= gpus and node.memory_gb >= job.memory_gb for node in nodes):
        there = "; ".join(str(node) for node in nodes) or "no node"
        raise Infeasible(
            f"{job.name} claims {job.cpus} CPUs, {gpus:g} GPUs and {job.memory_gb:g} GB on one node; "
            f"the cluster has {len(nodes)} ({there}); claim less or add a node"
        )
    return gpus


def summary(nodes: Sequence[Node]) -> dict[str, Any]:
    """Return the totals and each node."""
    totals = {key: sum(getattr(node, key) for node in nodes) for key in ("cpus", "gpus", "memory_gb")}
    return {**totals, "nodes": [asdict(node) for node in nodes]}


def physical_memory_gb() -> float:
    """Return how much memory this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
