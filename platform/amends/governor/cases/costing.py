"""Foresee what each rung of a plan's ladder will take, from how fast the model reads on this machine."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from amends.errors import Cancelled, TaskFailed
from amends.governor.data.rows import blobs_of, rows_of
from amends.governor.work.piece import wait
from amends.governor.work.running import measure
from amends.governor.workspace import Workspace
from amends.ledger import datasets
from amends.operation import Load
from amends.policy import Policy
from amends.records import Guarantee, Records

DIGITS = 2  # what a forecast within a factor of two can say
Rung = tuple[str, Guarantee]


def priced(
    workspace: Workspace,
    policy: Policy,
    case: str,
    target: str,
    rungs: Sequence[Rung],
    held: Mapping[str, Sequence[str]],
) -> list[dict[str, Any]]:
    """Return a plan's ladder: each operation with its guarantee and the seconds that it will take, None if unknown.

    Args:
        workspace: Where the model is.
        policy: Whose `throughput` names the probe that times the model; without one nothing is foreseen.
        case: The case that is planned.
        target: Tree digest of the version to erase from.
        rungs: The operations that fit, with their guarantees.
        held: Ids of the records to erase, by data set.
    """
    wanted = [name for name, _ in rungs if workspace.host.operation(name).effort is not None]
    speed, depth = _speed(workspace, policy.throughput, case, target) if wanted and policy.throughput else (0.0, 1)
    loads = _loads(workspace, held) if speed else {}
    return [
        {"operation": name, "guarantee": str(promised), "seconds": _seconds(workspace, name, loads, depth, speed)}
        for name, promised in rungs
    ]


def _seconds(workspace: Workspace, name: str, loads: Mapping[str, Load], depth: int, speed: float) -> float | None:
    operation = workspace.host.operation(name)
    wanted = {parameter.name for parameter in operation.parameters if parameter.kind is Records}
    given = {parameter: loads.get(parameter, Load()) for parameter in wanted}
    found = operation.predict(given, {}, depth=depth, forward=speed) if speed else None
    return None if found is None or not found > 0 else round(found, DIGITS - 1 - math.floor(math.log10(found)))


def _speed(workspace: Workspace, probe: str, case: str, target: str) -> tuple[float, int]:
    """Return how many tokens a second the model reads, 0 where nobody can say, and how many layers it has.

    A forecast that fails is no reason to leave a request unplanned.
    """
    handle = measure(workspace, f"{case}-speed", {probe: {}}, model=target, reference=None, records={}, seed=0)
    try:
        readings = wait(handle, lambda: False).readings
    except Cancelled:
        raise
    except TaskFailed:
        return 0.0, 1
    if not readings or not math.isfinite(readings[0].value):
        return 0.0, 1
    return readings[0].value, int(readings[0].detail.get("layers", 1))


def _loads(workspace: Workspace, held: Mapping[str, Sequence[str]]) -> dict[str, Load]:
    """Return how large the records are that go, and those beside them that stay: of the first data set, as later."""
    gone: list[dict[str, Any]] = []
    kept: list[dict[str, Any]] = []
    with workspace.database.read() as connection:
        blobs = [blobs_of(datasets.get(connection, digest))[0] for digest in sorted(held)]
    for digest, blob in zip(sorted(held), blobs, strict=True):
        rows, going = list(rows_of(workspace, blob)), set(held[digest])
        gone += [row for row in rows if row["id"] in going]
        kept = kept or [row for row in rows if row["id"] not in going]
    return {"forget": Load.of(gone), "retain": Load.of(kept), "records": Load.of(kept)}
