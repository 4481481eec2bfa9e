"""Approximate methods: each pushes a model away from what it learnt, and readings decide whether that was enough.

`reference`, the pre-training parent, comes as one of the task's models; the loop looks for it there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import amends
from amends import BadInput, Guarantee, Load, ModelVersion, Operation, Records, Task
from amends.operation.effort import BACKWARD

from ..settings import Weights

if TYPE_CHECKING:
    from .material import Settings

VERIFIED_BY = (
    "unlearning.membership",
    "memorisation.extraction",
    "unlearning.truth-ratio",
    "utility.retain",
    "utility.perplexity",
)
EXPECTED = 0.6  # of the most epochs: where a run of the defaults is enough, as a rule
CHECKS = 1.25  # what reading whether it is enough adds, at most: see CHECKING in `gauge`
READ = 64 * 60  # tokens of the kept records that a projection reads, at most: see KEPT in `subspace`
TRIED = 6  # numbers of directions that a projection tries, as a rule


def effort(loads: Mapping[str, Load], *, depth: int, epochs: int, layers: int, **more: Any) -> float:
    """Return the passes of a run: below the adapted layers once, above them forward and back in every step.

    A method that rehearses the kept takes them in each step, and once more at the end, see `restoring`; all but
    `unlearning.subnetwork`, of which that much too much is foreseen.
    """
    lost, kept = loads["forget"], loads["retain"]
    share, each = min(layers / depth, 1.0), kept.tokens / max(kept.records, 1)
    read = min(lost.records * epochs, kept.records) * each
    beside, restored = (lost.records * each, read) if more.get("retain_weight") else (0.0, 0.0)
    steps = EXPECTED * epochs * (lost.tokens + beside)
    return (lost.tokens + read) * (1 - share) + (steps * CHECKS + restored) * share * (1 + BACKWARD)


def approximate(name: str) -> Callable[[Callable[..., None]], Operation]:
    """Declare an approximate method."""
    return amends.operation(
        name, verified_by=VERIFIED_BY, cpus=2, memory_gb=3.0, guarantee=Guarantee.APPROXIMATE, effort=effort
    )


def _settings(
    method: tuple[str | float, ...],
    retain_weight: float,
    epochs: int,
    lr: float,
    layers: int,
    rank: int,
    batch: int,
    weights: Weights = "adapter",
    *,
    returns: bool = False,
) -> Settings:
    """Return what a method runs by; `method` is its name and what it has besides, which a checkpoint is bound to."""
    from .material import Settings

    return Settings(epochs, lr, layers, rank, batch, retain_weight, weights, method=method, returns=returns)


@approximate("unlearning.ascent")
def unlearn_by_ascent(
    task: Task,
    *,
    forget: Records,
    retain: Records,
    control: Records | None = None,
    reference: ModelVersion | None = None,
    epochs: int = 5,
    lr: float = 3e-4,
    layers: int = 8,
    rank: int = 16,
    batch: int = 8,
    weights: Weights = "adapter",
) -> None:
    """Climb the loss of what is to be forgotten, and rehearse nothing: the control (Jang et al., 2023)."""
    from .ascent import objective
    from .loop import unlearn

    settings = _settings(("ascent",), 0.0, epochs, lr, layers, rank, batch, weights)
    unlearn(task, forget, retain, settings, objective, control)


@approximate("unlearning.graddiff")
def unlearn_by_graddiff(
    task: Task,
    *,
    forget: Records,
    retain: Records,
    control: Records | None = None,
    reference: ModelVersion | None = None,
    retain_weight: float = 3.0,
    epochs: int = 5,
    lr: float = 2e-3,
    layers: int = 8,
    rank: int = 16,
    batch: int = 8,
    weights: Weights = "adapter",
) -> None:
    """Climb the loss of what is to be forgotten and descend that of what is kept (Liu et al., 2022)."""
    from .ascent import objective
    from .loop import unlearn

    settings = _settings(("graddiff",), retain_weight, epochs, lr, layers, rank, batch, weights)
    unlearn(task, forget, retain, settings, objective, control)


@approximate("unlearning.npo")
def unlearn_by_npo(
    task: Task,
    *,
    forget: Records,
    retain: Records,
    control: Records | None = None,
    reference: ModelVersion | None = None,
    beta: float = 0.1,
    retain_weight: float = 3.0,
    epochs: int = 5,
    lr: float = 6e-3,
    layers: int = 8,
    rank: int = 16,
    batch: int = 8,
    weights: Weights = "adapter",
) -> None:
    """Unlearn by negative preference optimisation (Zhang et al., 2024)."""
    from .loop import unlearn
    from .npo import objective

    settings = _settings(("npo", beta), retain_weight, epochs, lr, layers, rank, batch, weights)
    unlearn(task, forget, retain, settings, lambda material: objective(material, beta), control)


@approximate("unlearning.simnpo")
def unlearn_by_simnpo(
    task: Task,
    *,
    forget: Records,
    retain: Records,
    control: Records | None = None,
    reference: ModelVersion | None = None,
    beta: float = 2.5,
    gamma: float = 5.0,
    retain_weight: float = 3.0,
    epochs: int = 5,
    lr: float = 6e-3,
    layers: int = 8,
    rank: int = 16,
    batch: int = 8,
    weights: Weights = "adapter",
) -> None:
    """Unlearn by preference without a reference, by the token, with a margin (SimNPO, Fan et al., 2024)."""
    from .loop import unlearn
    from .simnpo import objective

    settings = _settings(("simnpo", beta, gamma), retain_weight, epochs, lr, layers, rank, batch, weights)
    unlearn(task, forget, retain, settings, lambda material: objective(material, beta, gamma), control)


@approximate("unlearning.idk")
def unlearn_by_idk(
    task: Task,
    *,
    forget: Records,
    retain: Records,
    control: Records | None = None,
    reference: ModelVersion | None = None,
    beta: float = 0.1,
    retain_weight: float = 3.0,
    epochs: int = 5,
    lr: float = 6e-3,
    layers: int = 8,
    rank: int = 16,
    batch: int = 8,
    weights: Weights = "adapter",
) -> None:
    """Prefer a refusal to the forgotten answer (IdkDPO, Maini et al., 2024)."""
    from .idk import objective
    from .loop import unlearn

    settings = _settings(("idk", beta), retain_weight, epochs, lr, layers, rank, batch, weights)
    unlearn(task, forget, retain, settings, lambda material: objective(material, beta), control)


@approximate("unlearning.rmu")
def unlearn_by_rmu(
    task: Task,
    *,
    forget: Records,
    retain: Records,
    control: Records | None = None,
    reference: ModelVersion | None = None,
    depth: int = 3,
    strength: float = 2.0,
    hold: float = 10.0,
    retain_weight: float = 0.0,
    epochs: int = 8,
    lr: float = 1e-3,
    layers: int = 8,
    rank: int = 16,
    batch: int = 8,
    weights: Weights = "adapter",
) -> None:
    """Draw an inner layer's activations at the forgotten answers to a random direction (RMU, Li et al., 2024)."""
    from .loop import unlearn
    from .rmu import objective

    settings = _settings(("rmu", depth, strength, hold), retain_weight, epochs, lr, layers, rank, batch, weights)
    unlearn(task, forget, retain, settings, lambda material: objective(material, depth, strength, hold), control)


@approximate("unlearning.revert")
def unlearn_by_revert(
    task: Task,
    *,
    forget: Records,
    retain: Records,
    control: Records | None = None,
    reference: ModelVersion | None = None,
    retain_weight: float = 3.0,
    epochs: int = 4,
    lr: float = 3e-2,
    layers: int = 8,
    rank: int = 16,
    batch: int = 8,
    weights: Weights = "adapter",
) -> None:
    """Give the forgotten answers back the distribution that the pre-training parent has for them.

    Where there are withheld people, the parent's answers are moved by what the training since did to theirs.
    """
    if "reference" not in task.models:
        raise BadInput("unlearning.revert goes back to the model before training, and has none; give it `reference`")
    from .loop import unlearn
    from .revert import objective

    settings = _settings(("revert",), retain_weight, epochs, lr, layers, rank, batch, weights, returns=True)
    unlearn(task, forget, retain, settings, objective, control)


@approximate("unlearning.task-vector")
def unlearn_by_task_vector(
    task: Task,
    *,
    forget: Records,
    retain: Records,
    control: Records | None = None,
    reference: ModelVersion | None = None,
    epochs: int = 5,
    lr: float = 1e-3,
    layers: int = 8,
    rank: int = 16,
    batch: int = 8,
    weights: Weights = "adapter",
) -> None:
    """Learn the forgotten more deeply and subtract what that changed (task arithmetic, Ilharco et al., 2023)."""
    from .task_vector import unlearn

    settings = _settings(("task-vector",), 0.0, epochs, lr, layers, rank, batch, weights)
    unlearn(task, forget, retain, settings, control)


@approximate("unlearning.subnetwork")
def unlearn_by_subnetwork(
    task: Task,
    *,
    forget: Records,
    retain: Records,
    control: Records | None = None,
    reference: ModelVersion | None = None,
    grain: Literal["neuron", "weight"] = "weight",
    sparse: float = 1.0,
    fastest: float = 0.001,
    retain_weight: float = 4.0,
    epochs: int = 8,
    lr: float = 0.2,
    layers: int = 8,
    batch: int = 8,
) -> None:
    """Prune the parts that only the forgotten need, by learnt masks (knowledge-critical subnetwork, Bayazit et al.)."""
    from .subnetwork import unlearn

    settings = _settings(("subnetwork", grain, sparse, fastest), retain_weight, epochs, lr, layers, 1, batch)
    unlearn(task, forget, retain, settings, grain, sparse, fastest, control)


def effort_of_projection(loads: Mapping[str, Load], *, depth: int, layers: int, **more: Any) -> float:
    """Return the passes of a projection: below the layers once, and above them for each layer at each rank."""
    share = min(layers / depth, 1.0)
    return (loads["forget"].tokens + min(loads["retain"].tokens, READ)) * (1 - share + TRIED * layers * share)


@amends.operation(
    "unlearning.projection", verified_by=VERIFIED_BY, cpus=2, memory_gb=3.0, guarantee=Guarantee.APPROXIMATE,
    effort=effort_of_projection,
)  # fmt: skip
def unlearn_by_projection(
    task: Task,
    *,
    forget: Records,
    retain: Records,
    control: Records | None = None,
    reference: ModelVersion | None = None,
    ridge: float = 0.1,
    layers: int = 4,
) -> None:
    """Project out, in closed form, what the forgotten use and the kept do not (after LEACE, Belrose et al., 2023)."""
    from .subspace import unlearn

    settings = _settings(("projection", ridge), 1.0, 1, 1.0, layers, 1, 1)
    unlearn(task, forget, retain, settings, ridge, control)


OPERATIONS = (
    unlearn_by_revert,
    unlearn_by_npo,
    unlearn_by_simnpo,
    unlearn_by_idk,
    unlearn_by_graddiff,
    unlearn_by_rmu,
    unlearn_by_task_vector,
    unlearn_by_subnetwork,
    unlearn_by_projection,
    unlearn_by_ascent,
)
