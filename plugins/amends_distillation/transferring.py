"""The operations and the probe that carry parameters from one model into another: what each takes, what runs it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import amends
from amends import Guarantee, ModelVersion, Operation, Probe, ProbeTask, Reading, Records, Task


@amends.operation(
    "transfer.pkt",
    verified_by=["utility.perplexity", "utility.retain"],
    cpus=2,
    memory_gb=4.0,
    guarantee=Guarantee.EXACT,
    rebuilds="transfer.pkt",
)
def pkt(
    task: Task,
    *,
    teacher: ModelVersion,
    seeds: Records,
    records: Records,
    unit: Literal["submatrix", "neurons"] = "submatrix",
    init: Literal["teacher", "random", "self", "seed-only"] = "teacher",
    rank: int = 16,
    neurons: int = 64,
    place: Literal["widen", "replace"] = "widen",
    path: int = 20,
    steps: int = 40,
    lr: float = 3e-4,
    batch: int = 4,
) -> None:
    """Start a student's change from its teacher's most sensitive parameters, and tune it (PKT, Zhong et al., 2024).

    The source is the student; `unit` is what is carried, and `init` where from: the teacher, or one of the controls.
    """
    from .transfer.neurons import Graft
    from .transfer.neurons import transfer as transfer_neurons
    from .transfer.pkt import Transfer
    from .transfer.pkt import transfer as transfer_submatrices
    from .transfer.tuning import Tuning

    tuning = Tuning(steps, lr, batch)
    if unit == "neurons":
        transfer_neurons(task, seeds, records, Graft(init, neurons, place, path, tuning))
    else:
        transfer_submatrices(task, seeds, records, Transfer(init, rank, tuning))


@amends.operation(
    "transfer.project",
    verified_by=["transfer.lens", "utility.perplexity"],
    cpus=2,
    memory_gb=4.0,
    guarantee=Guarantee.EXACT,
    rebuilds="transfer.project",
)
def project(
    task: Task,
    *,
    edited: ModelVersion,
    original: ModelVersion,
    by: Literal["lens", "embedding"] = "lens",
    rank: int = 0,
    strength: float = 1.0,
) -> None:
    """Carry what was changed between two versions of another model, over the shared vocabulary (Dar et al., 2023).

    The source is the model that receives it. `edited` is a version of another model, and `original` the one before it.
    """
    from .transfer.project import Projection
    from .transfer.project import project as run

    run(task, Projection(by, rank, strength))


@amends.operation(
    "transfer.stitch",
    verified_by=["utility.perplexity", "utility.retain"],
    cpus=2,
    memory_gb=4.0,
    guarantee=Guarantee.EXACT,
    rebuilds="transfer.stitch",
)
def stitch(
    task: Task, *, upper: ModelVersion, below: int, above: int, by: Literal["lens", "embedding"] = "embedding"
) -> None:
    """Put the last blocks of another model on the first blocks of this one (model stitching, Dar et al., 2023)."""
    from .transfer.stitching import Seam
    from .transfer.stitching import stitch as run

    run(task, Seam(below, above, by))


@amends.probe("transfer.lens", memory_gb=4.0)
def lens(
    task: ProbeTask,
    *,
    edited: ModelVersion | None = None,
    original: ModelVersion | None = None,
    rank: int = 8,
) -> list[Reading]:
    """Read whether a carried change says to the shared tokens what it said in the model that it comes from.

    Of each change the first `rank` directions are compared, 0 for all. Without a change to compare with, the readings
    are NaN, which no policy allows.
    """
    from .transfer.comparing import read_lens

    return read_lens(task, edited, original, rank)


def operations() -> Iterable[Operation]:
    """Return the operations of this module."""
    return (pkt, project, stitch)


def probes() -> Iterable[Probe]:
    """Return the probes of this module."""
    return (lens,)
