"""The operations that teach a student from a teacher: what each takes, and what runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import amends
from amends import Guarantee, ModelVersion, Operation, Records, Task

VERIFIED_BY = ("distillation.fidelity", "distillation.size", "distillation.contamination")


def _offer(name: str, memory_gb: float = 4.0) -> Callable[[Callable[..., None]], Operation]:
    """Declare an operation that is a function of teacher, records, parameters and seed: its own rebuild."""
    return amends.operation(
        name,
        verified_by=VERIFIED_BY,
        cpus=2,
        memory_gb=memory_gb,
        guarantee=Guarantee.EXACT,
        rebuilds=name,
        needs_source=False,
    )


@_offer("distillation.logit")
def logit(
    task: Task,
    *,
    teacher: ModelVersion,
    text: Records,
    layers: int = 0,
    width: int = 0,
    start: Literal["spread", "first", "random"] = "spread",
    direction: Literal["forward", "reverse"] = "forward",
    temperature: float = 1.0,
    alpha: float = 0.9,
    kept: int = 32,
    epochs: int = 3,
    lr: float = 1e-3,
    batch: int = 8,
    length: int = 64,
    embeddings: bool = False,
) -> None:
    """Match the teacher's next-token distributions, asked for once and kept (Hinton et al., 2015)."""
    from .learning import Settings
    from .logit import Matching, distil
    from .pairs import Shape

    settings = Settings(epochs, lr, batch, length, embeddings or start == "random")
    distil(task, teacher, text, Shape(layers, width, start), settings, Matching(direction, temperature, alpha, kept))


def operations() -> Iterable[Operation]:
    """Return the operations of this package."""
    return (logit,)
