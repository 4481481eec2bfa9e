"""Declare the training by somebody's own script, and its replay without a person."""

from __future__ import annotations

import amends
from amends import Guarantee, Records, Task

from .methods import VERIFIED_BY


@amends.operation("training.trainer", verified_by=VERIFIED_BY, cpus=2, memory_gb=4.0)
def train_by_script(
    task: Task,
    *,
    records: Records,
    placement_salt: str,
    script: str = "plain",
    steps: int = 32,
    epochs: int = 3,
    lr: float = 5e-5,
    checkpoints: int = 4,
) -> None:
    """Train by an installed script's own `transformers.Trainer`, or take over what it trained elsewhere."""
    from .scripted import Settings, train

    train(task, records, Settings(script, placement_salt, steps, epochs, lr, checkpoints))


@amends.operation(
    "unlearning.replay-trainer",
    verified_by=VERIFIED_BY,
    cpus=2,
    memory_gb=4.0,
    guarantee=Guarantee.EXACT,
    rebuilds="training.trainer",
)
def unlearn_by_script(
    task: Task,
    *,
    records: Records,
    placement_salt: str,
    script: str = "plain",
    steps: int = 32,
    epochs: int = 3,
    lr: float = 5e-5,
    checkpoints: int = 4,
    from_scratch: bool = False,
) -> None:
    """Replay a script's run from its last clean checkpoint on the remaining records (arXiv 2508.12220)."""
    from .scripted import Settings, rebuild

    settings = Settings(script, placement_salt, steps, epochs, lr, checkpoints)
    rebuild(task, records, settings, reuse=not from_scratch)


OPERATIONS = (train_by_script, unlearn_by_script)
