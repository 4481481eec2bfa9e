"""The operations that make a model less toxic: what each takes, and what runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import amends
from amends import Guarantee, Operation, Records, Task

VERIFIED_BY = ("detox.toxicity", "utility.perplexity")


def _offer(name: str, memory_gb: float = 3.0) -> Callable[[Callable[..., None]], Operation]:
    """Declare an operation that is a function of source, pairs, texts, parameters and seed: its own rebuild."""
    return amends.operation(
        name, verified_by=VERIFIED_BY, cpus=2, memory_gb=memory_gb, guarantee=Guarantee.EXACT, rebuilds=name,
        removes=True,
    )  # fmt: skip


@_offer("detox.steer", memory_gb=2.0)
def steer(
    task: Task,
    *,
    pairs: Records | None = None,
    prompts: Records | None = None,
    retain: Records | None = None,
    layer: str = "",
    strength: float = 5.0,
    gate: bool = True,
    opens: float = 0.5,
    full: float = 1.0,
) -> None:
    """Move states away from the toxic ones, at tokens that look toxic or at all (CAA, Rimsky et al., 2024)."""
    from .contrasts import pairs_for
    from .steer import Settings
    from .steer import steer as run

    run(task, pairs_for(task, pairs, prompts), retain, Settings(layer, strength, gate, opens, full))


@_offer("detox.project", memory_gb=2.0)
def project(
    task: Task,
    *,
    pairs: Records | None = None,
    prompts: Records | None = None,
    layers: str = "",
    rank: int = 2,
    shared: int = 1,
    strength: float = 1.0,
) -> None:
    """Project the toxic directions out of what the MLPs write, in closed form (ProFS, Uppaal et al., 2025)."""
    from .contrasts import pairs_for
    from .project import project as run

    run(task, pairs_for(task, pairs, prompts), layers, rank, shared, strength)


@_offer("detox.negate")
def negate(
    task: Task,
    *,
    pairs: Records | None = None,
    prompts: Records | None = None,
    strength: float = 1.0,
    contrast: float = 1.0,
    steps: int = 40,
    lr: float = 1e-3,
    rank: int = 8,
    layers: int = 12,
    batch: int = 4,
) -> None:
    """Learn the toxic texts on a low-rank change, and subtract it (task arithmetic, Ilharco et al., 2023)."""
    from .contrasts import pairs_for
    from .negate import negate as run
    from .training import Settings

    run(task, pairs_for(task, pairs, prompts), Settings(steps, lr, rank, layers, batch), strength, contrast)


@_offer("detox.dpo")
def dpo(
    task: Task,
    *,
    pairs: Records | None = None,
    prompts: Records | None = None,
    retain: Records | None = None,
    beta: float = 0.1,
    keep: float = 1.0,
    strength: float = 1.0,
    steps: int = 40,
    lr: float = 1e-3,
    rank: int = 8,
    layers: int = 12,
    batch: int = 4,
) -> None:
    """Prefer the neutral text to the toxic one, on a low-rank change (DPO, Rafailov et al., 2023)."""
    from .contrasts import pairs_for
    from .dpo import train
    from .training import Settings

    train(task, pairs_for(task, pairs, prompts), retain, Settings(steps, lr, rank, layers, batch), beta, keep, strength)


@_offer("detox.dinm")
def dinm(
    task: Task,
    *,
    pairs: Records | None = None,
    prompts: Records | None = None,
    retain: Records | None = None,
    steps: int = 10,
    lr: float = 5e-4,
    safe: float = 0.1,
    keep: float = 1.0,
) -> None:
    """Tune the toxic layer of one instance after another until the safe answer is likely (DINM, Wang et al., 2024)."""
    from .contrasts import pairs_for
    from .dinm import Settings, edit

    edit(task, pairs_for(task, pairs, prompts), retain, Settings(steps, lr, safe, keep))


def operations() -> Iterable[Operation]:
    """Return the operations of this package."""
    return (steer, project, negate, dpo, dinm)
