"""The operations that teach a student from a teacher: what each takes, and what runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import amends
from amends import Guarantee, ModelVersion, Operation, Records, Task

VERIFIED_BY = ("distillation.fidelity", "distillation.size", "distillation.contamination")


def _offer(name: str, memory_gb: float = 4.0, whole: Sequence[str] = ()) -> Callable[[Callable[..., None]], Operation]:
    """Declare an operation that is a function of teacher, records, parameters and seed: its own rebuild."""
    return amends.operation(
        name,
        verified_by=VERIFIED_BY,
        cpus=2,
        memory_gb=memory_gb,
        whole=whole,
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
    steps: int = 0,
    lr: float = 1e-3,
    batch: int = 8,
    length: int = 64,
    embeddings: bool = False,
) -> None:
    """Match the teacher's next-token distributions, asked for once and kept (Hinton et al., 2015)."""
    from .learning import Settings
    from .logit import Matching, distil
    from .pairs import Shape

    settings = Settings(epochs, lr, batch, length, embeddings or start == "random", steps)
    distil(task, teacher, text, Shape(layers, width, start), settings, Matching(direction, temperature, alpha, kept))


@_offer("distillation.sequence", memory_gb=3.0, whole=["teacher"])
def sequence(
    task: Task,
    *,
    teacher: ModelVersion,
    text: Records,
    layers: int = 0,
    width: int = 0,
    start: Literal["spread", "first", "random"] = "spread",
    given: int = 16,
    tokens: int = 32,
    epochs: int = 3,
    steps: int = 0,
    lr: float = 1e-3,
    batch: int = 8,
    length: int = 64,
    embeddings: bool = False,
) -> None:
    """Learn what the whole teacher says as text, whatever its vocabulary or attachments (Kim and Rush, 2016)."""
    from .learning import Settings
    from .pairs import Shape
    from .sequence import distil

    settings = Settings(epochs, lr, batch, length, embeddings or start == "random", steps)
    distil(task, teacher, text, Shape(layers, width, start), settings, given, tokens)


@_offer("distillation.on-policy")
def on_policy(
    task: Task,
    *,
    teacher: ModelVersion,
    text: Records,
    layers: int = 0,
    width: int = 0,
    start: Literal["spread", "first", "random"] = "spread",
    beta: float = 0.5,
    share: float = 0.5,
    tokens: int = 16,
    temperature: float = 1.0,
    epochs: int = 1,
    steps: int = 0,
    lr: float = 3e-4,
    batch: int = 8,
    length: int = 48,
    embeddings: bool = False,
) -> None:
    """Match the teacher on what the student says itself, by a generalised JSD (GKD, Agarwal et al., 2024)."""
    from .learning import Settings
    from .on_policy import Sampling, distil
    from .pairs import Shape

    settings = Settings(epochs, lr, batch, length, embeddings or start == "random", steps)
    distil(task, teacher, text, Shape(layers, width, start), settings, Sampling(beta, share, tokens, temperature))


@_offer("distillation.layers")
def by_layers(
    task: Task,
    *,
    teacher: ModelVersion,
    text: Records,
    layers: int = 0,
    width: int = 0,
    start: Literal["spread", "first", "random"] = "spread",
    matched: int = 0,
    share: float = 0.7,
    weight: float = 1.0,
    alpha: float = 0.9,
    kept: int = 32,
    epochs: int = 6,
    steps: int = 0,
    lr: float = 1e-3,
    batch: int = 8,
    length: int = 64,
    embeddings: bool = False,
) -> None:
    """Begin with spread layers of the teacher, match its hidden states by maps thrown away later, then its logits."""
    from .layers import Stages, distil
    from .learning import Settings
    from .logit import Matching
    from .pairs import Shape

    settings = Settings(epochs, lr, batch, length, embeddings or start == "random", steps)
    matching = Matching("forward", 1.0, alpha, kept)
    distil(task, teacher, text, Shape(layers, width, start), settings, Stages(matched, share, weight), matching)


def operations() -> Iterable[Operation]:
    """Return the operations of this package."""
    return (logit, sequence, on_policy, by_layers)
