"""Foresee what each rung of a plan's ladder will take: from the training that an exact one repeats, else by a probe.

The probe times how fast the model reads on this machine; how much there is to read, the operation says.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from amends.errors import Cancelled, TaskFailed
from amends.governor.data.rows import blobs_of, rows_of
from amends.governor.work.leftovers import BROUGHT
from amends.governor.work.piece import wait
from amends.governor.work.running import measure
from amends.governor.workspace import Workspace
from amends.ledger import datasets, journal, lineage
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

    def foreseen(name: str) -> float | None:
        repeated = repeating(workspace, target, name)
        return _seconds(workspace, name, loads, depth, speed) if repeated is None else repeated

    return [
        {"operation": name, "guarantee": str(promised), "seconds": _rounded(foreseen(name))} for name, promised in rungs
    ]


def repeating(workspace: Workspace, target: str, operation: str) -> float | None:
    """Return how many seconds an operation takes at most that repeats the training of a version.

    That is as long as its model's last training here took, for one shard of it where it was in shards. None where
    nobody knows: it repeats another step, or the training was taken over and took its time elsewhere.

    Args:
        workspace: Where the model is.
        target: Tree digest of the version.
        operation: Which is to repeat it.
    """
    with workspace.database.read() as connection:
        version = lineage.by_digest(connection, target)[0]
        steps = version.recipe.get("steps", [])
        if not steps or workspace.host.operation(operation).rebuilds != steps[0]["operation"]:
            return None
        own = [one.case_id for one in lineage.versions_of(connection, version.model) if one.number <= version.number]
        done = [(case, journal.step_result(connection, case, "train")) for case in reversed(own) if case]
        case, trained = next(((case, result) for case, result in done if result is not None), ("", None))
        is_brought = trained is not None and journal.step_result(connection, case, BROUGHT) is not None
    if trained is None or is_brought:
        return None
    return float(trained["seconds"]) / int(steps[0]["parameters"].get("shards", 1))


def _rounded(seconds: float | None) -> float | None:
    """Return seconds to as many digits as a forecast can say, None where there are none."""
    if seconds is None or not seconds > 0:
        return None
    return round(seconds, DIGITS - 1 - math.floor(math.log10(seconds)))


def _seconds(workspace: Workspace, name: str, loads: Mapping[str, Load], depth: int, speed: float) -> float | None:
    operation = workspace.host.operation(name)
    wanted = {parameter.name for parameter in operation.parameters if parameter.kind is Records}
    given = {parameter: loads.get(parameter, Load()) for parameter in wanted}
    return operation.predict(given, {}, depth=depth, forward=speed) if speed else None


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
