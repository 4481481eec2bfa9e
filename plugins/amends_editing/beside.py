"""Declare the edits that stand beside the weights: each result is an attachment, no weight of the base changes.

This module imports nothing heavy; what it declares imports its method when it runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import amends
from amends import Attachment, Guarantee, Operation, Records, Seams, Task
from amends.operation.parameters import check_positive

VERIFIED_BY = ("editing.outcome", "editing.success", "utility.perplexity")


@amends.operation(
    "editing.ike",
    verified_by=VERIFIED_BY,
    cpus=1,
    memory_gb=2.0,
    accepts=["ike", "grace", "wise"],
    guarantee=Guarantee.EXACT,
    rebuilds="editing.ike",
)
def ike(task: Task, *, edits: Records, demonstrations: int = 8, threshold: float = 0.6) -> None:
    """Tell the model the new facts in its prompt, after examples of how to use them (IKE; Zheng et al., 2023)."""
    from .ike import write

    write(task, edits, demonstrations, threshold)


@amends.operation(
    "editing.grace",
    verified_by=VERIFIED_BY,
    cpus=2,
    memory_gb=3.0,
    accepts=["grace"],
    guarantee=Guarantee.EXACT,
    rebuilds="editing.grace",
)
def grace(
    task: Task,
    *,
    edits: Records,
    layer: int | None = None,
    radius: float = 0.05,
    steps: int = 100,
    lr: float = 0.2,
    stop: float = 0.9,
) -> None:
    """Keep the new facts in a codebook at one layer, looked up by nearness (GRACE; Hartvigsen et al., 2023)."""
    from .grace import Settings, write

    write(task, edits, Settings(layer, radius, steps, lr, stop))


@amends.operation(
    "editing.patch",
    verified_by=VERIFIED_BY,
    cpus=2,
    memory_gb=3.0,
    accepts=["patch"],
    guarantee=Guarantee.EXACT,
    rebuilds="editing.patch",
)
def patch(
    task: Task,
    *,
    edits: Records,
    layers: str = "",
    near: float = 0.8,
    batch: int = 50,
    steps: int = 25,
    lr: float = 1.0,
    stop: float = 0.9,
    overshoot: float = 1.0,
    per_coordinate: bool = False,
    contexts: int = 1,
) -> None:
    """Keep each fact as a neuron that fires at its subject alone (Transformer-Patcher; Huang et al., 2023)."""
    from .patching import Settings, write
    from .targets import Solver

    check_positive("editing.patch", steps=steps, lr=lr, overshoot=overshoot)
    solver = Solver(
        steps=steps, lr=lr, stop=stop, contexts_per_step=contexts, overshoot=overshoot, per_coordinate=per_coordinate
    )
    write(task, edits, Settings(layers, near, batch, solver))


@amends.operation(
    "editing.wise",
    verified_by=VERIFIED_BY,
    cpus=2,
    memory_gb=4.0,
    accepts=["wise"],
    guarantee=Guarantee.EXACT,
    rebuilds="editing.wise",
)
def wise(
    task: Task,
    *,
    edits: Records,
    layer: int | None = None,
    steps: int = 60,
    lr: float = 0.02,
    stop: float = 0.9,
    alpha: float = 0.1,
    beta: float = 0.4,
    gamma: float = 0.2,
    shards: int = 1,
    density: float = 0.2,
) -> None:
    """Keep the new facts in a side memory that a router turns to for them alone (WISE; Wang et al., 2024)."""
    from .wise import Settings, write

    write(task, edits, Settings(layer, steps, lr, stop, alpha, beta, gamma, shards, density))


class Ike:
    """The attachment of a version that is told facts in its prompt."""

    kind = "ike"

    def load(self, path: Path, model: Any, tokenizer: Any) -> Seams:
        """Load the facts and the examples at `path`."""
        from .ike import load

        return load(path)


class Grace:
    """The attachment of a version with a codebook at one layer."""

    kind = "grace"

    def load(self, path: Path, model: Any, tokenizer: Any) -> Seams:
        """Load the codebook at `path` onto a model."""
        from .codebook import load

        return load(path, model)


class Patch:
    """The attachment of a version with a neuron for each fact."""

    kind = "patch"

    def load(self, path: Path, model: Any, tokenizer: Any) -> Seams:
        """Load the neurons at `path` onto a model."""
        from .patches import load

        return load(path, model)


class Wise:
    """The attachment of a version with side memories and their router."""

    kind = "wise"

    def load(self, path: Path, model: Any, tokenizer: Any) -> Seams:
        """Load the side memories at `path` onto a model."""
        from .memories import load

        return load(path, model, tokenizer)


def operations() -> tuple[Operation, ...]:
    """Return the operations whose result stands beside the weights."""
    return (ike, grace, patch, wise)


def attachments() -> tuple[Attachment, ...]:
    """Return the attachments that they make."""
    return (Ike(), Grace(), Patch(), Wise())
