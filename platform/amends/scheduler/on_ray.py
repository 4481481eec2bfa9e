"""Run jobs as tasks of Ray, on this machine or a cluster; a name travels, never code."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from amends.errors import Cancelled
from amends.operation.task import Progress
from amends.scheduler import remote
from amends.scheduler.board import Board
from amends.scheduler.fresh import GRACE_SECONDS
from amends.scheduler.handles import Handle, telling
from amends.scheduler.jobs import Job
from amends.scheduler.resources import Node, check_feasible, summary
from amends.scheduler.session import Session, short_directory
from amends.scheduler.watch import Watch

RETRIES = 2
_GIB = 1024**3


class RayScheduler:
    """Jobs as tasks of Ray.

    Args:
        cache_directory: The cache of this machine; on a cluster each node has its own (`AMENDS_CACHE`).
        address: A cluster's address; `RAY_ADDRESS`, or a Ray of its own, by default.
        cpus: Cores of an own Ray; all by default.
        gpus: GPUs of an own Ray; what Ray finds by default.
        temp_dir: Where an own Ray keeps sockets and logs; short.
        grace_seconds: How long a cancelled job may take to stop before its worker is killed.
        patience_seconds: How long a job waits for a lost node before it fails.
    """

    def __init__(
        self,
        cache_directory: Path,
        *,
        address: str | None = None,
        cpus: int | None = None,
        gpus: float | None = None,
        temp_dir: Path | None = None,
        grace_seconds: float = GRACE_SECONDS,
        patience_seconds: float = 60.0,
    ) -> None:
        address = address or os.environ.get("RAY_ADDRESS") or None
        self._session = Session(
            address, cpus or os.cpu_count() or 1, gpus, temp_dir or short_directory(cache_directory)
        )
        import ray

        self._ray = ray
        self._local_cache = str(cache_directory.absolute()) if self._session.temp_dir else None
        self._on_cpu = ray.remote(remote.attempt)
        self._on_gpu = ray.remote(max_calls=1)(remote.attempt)  # an idle worker would keep the GPU's memory
        self._purge = ray.remote(remote.purge)
        self._board = _place_board(ray)
        self.grace_seconds, self.patience_seconds = grace_seconds, patience_seconds
        self._watches: list[Watch] = []
        self._is_closed = False

    @property
    def session_directory(self) -> Path | None:
        """Where an own Ray keeps its files."""
        return self._session.temp_dir

    def submit(self, job: Job, on_progress: Progress | None = None) -> Handle:
        """Start a job, or queue it.

        Raises:
            Infeasible: No node has what it claims; Ray would wait for ever without a word.
            Cancelled: It is closed; Ray would begin anew.
        """
        if self._is_closed:
            raise Cancelled(f"{job.name} was cancelled")
        job = replace(job, gpus=check_feasible(job, self._nodes()))
        function = self._on_gpu if job.gpus else self._on_cpu
        reference = function.options(**_claims(job)).remote(
            self._board, job.to_json(with_key=True), self._local_cache, self.grace_seconds
        )
        watch = Watch(
            job,
            reference,
            self._board,
            telling(on_progress),
            self._nodes,
            grace_seconds=self.grace_seconds,
            patience_seconds=self.patience_seconds,
        )
        self._watches = [other for other in self._watches if not other.future.done()] + [watch]
        return Handle(job, watch.future, watch.stopped.set)

    def resources(self) -> dict[str, Any]:
        """Return what the cluster has in all, and on each node."""
        return summary(self._nodes())

    def purge(self, digests: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
        """Remove copies of these digests, and what killed workers left, on every node that is alive."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        wanted = tuple(digests)
        asked = {
            node.name: self._purge.options(
                num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node.name, soft=False)
            ).remote(wanted, self._local_cache)
            for node in self._nodes()
        }
        return {name: tuple(self._ray.get(reference)) for name, reference in asked.items()}

    def close(self) -> None:
        """Ask what runs to stop, wait for it, and leave Ray."""
        self._is_closed = True
        for watch in self._watches:
            watch.stopped.set()
        for watch in self._watches:
            watch.thread.join()
        self._ray.kill(self._board)
        self._session.close()

    def _nodes(self) -> list[Node]:
        alive = [node for node in self._ray.nodes() if node["Alive"]]
        return [_node(node["NodeID"], node["Resources"]) for node in alive]


def _node(name: str, has: Mapping[str, float]) -> Node:
    return Node(name, has.get("CPU", 0), has.get("GPU", 0), has.get("memory", 0) / _GIB)


def _place_board(ray: Any) -> Any:
    """Start the board beside the driver; no call is repeated, and it never comes back without its memory."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(Board).options(num_cpus=0, max_restarts=0, max_task_retries=0, scheduling_strategy=here).remote()


def _claims(job: Job) -> dict[str, Any]:
    """Return what Ray is to hold for a job."""
    claims: dict[str, Any] = {
        "name": job.name,
        "num_cpus": job.cpus,
        "num_gpus": job.gpus,
        "memory": int(job.memory_gb * _GIB),
        "max_retries": RETRIES,
    }
    if job.gpus:  # a process that once hid the GPUs from itself never sees them again
        claims["runtime_env"] = {"env_vars": {"AMENDS_CLAIM": "gpu"}}
    return claims
