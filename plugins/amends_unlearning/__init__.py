"""Make a model forget a data subject: exactly where it was trained in shards, approximately elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import amends
from amends import Attachment, Guarantee, Operation, Probe, ProbeTask, Reading, Records, Seams, Task, hookimpl

from .attacks import PROBES as ATTACKS
from .methods import OPERATIONS as METHODS
from .methods import VERIFIED_BY
from .scripts import OPERATIONS as SCRIPTS

if TYPE_CHECKING:
    import click

    from .recorder import TrainingRecorder
    from .scripted import keyed_ids, plain_trainer

__all__ = ["TrainingRecorder", "keyed_ids", "plain_trainer"]


def __getattr__(name: str) -> Any:
    """Import what needs torch when it is asked for, and not before."""
    if name == "TrainingRecorder":
        from .recorder import TrainingRecorder

        return TrainingRecorder
    if name in __all__:
        from . import scripted

        return getattr(scripted, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@amends.operation("training.shards", verified_by=VERIFIED_BY, cpus=2, memory_gb=3.0)
def train_shards(
    task: Task,
    *,
    records: Records,
    placement_salt: str,
    router_salt: str,
    shards: int = 4,
    slices: int = 2,
    hot_shards: int = 0,
    hot_rate: float = 0.1,
    layers: int = 3,
    rank: int = 16,
    epochs: int = 9,
    lr: float = 8e-3,
    batch: int = 3,
    canaries_per_shard: int = 2,
) -> None:
    """Train an adapter for each shard of the data subjects, so that each of them can be erased exactly."""
    from .placement import Placement
    from .shards import build
    from .training import Settings

    settings = Settings(layers=layers, rank=rank, epochs=epochs, lr=lr, batch=batch)
    placement = Placement(placement_salt, shards, slices, hot_shards, hot_rate)
    build(task, records, settings, placement, router_salt, canaries_per_shard)


@amends.operation(
    "unlearning.shards",
    verified_by=VERIFIED_BY,
    cpus=2,
    memory_gb=3.0,
    accepts=["shards"],
    guarantee=Guarantee.EXACT,
    rebuilds="training.shards",
)
def unlearn_shards(
    task: Task,
    *,
    records: Records,
    placement_salt: str,
    router_salt: str,
    shards: int = 4,
    slices: int = 2,
    hot_shards: int = 0,
    hot_rate: float = 0.1,
    layers: int = 3,
    rank: int = 16,
    epochs: int = 9,
    lr: float = 8e-3,
    batch: int = 3,
    canaries_per_shard: int = 2,
    from_scratch: bool = False,
) -> None:
    """Rebuild the touched shards from their last clean slice on the remaining records (Bourtoule et al., 2021)."""
    from .placement import Placement
    from .shards import build
    from .training import Settings

    settings = Settings(layers=layers, rank=rank, epochs=epochs, lr=lr, batch=batch)
    placement = Placement(placement_salt, shards, slices, hot_shards, hot_rate)
    build(task, records, settings, placement, router_salt, canaries_per_shard, from_scratch)


@amends.operation("training.finetune", verified_by=VERIFIED_BY, cpus=2, memory_gb=3.0)
def train_finetune(
    task: Task,
    *,
    records: Records,
    placement_salt: str,
    steps: int = 32,
    epochs: int = 9,
    layers: int = 8,
    rank: int = 16,
    lr: float = 2e-3,
    checkpoints: int = 4,
    canaries: int = 8,
) -> None:
    """Fine-tune the top layers on all records, in steps that a log names before they are taken."""
    from .finetune import Settings, train

    settings = Settings(placement_salt, steps, epochs, layers, rank, lr, checkpoints)
    train(task, records, settings, canaries)


@amends.operation(
    "unlearning.replay",
    verified_by=VERIFIED_BY,
    cpus=2,
    memory_gb=3.0,
    guarantee=Guarantee.EXACT,
    rebuilds="training.finetune",
)
def unlearn_replay(
    task: Task,
    *,
    records: Records,
    placement_salt: str,
    steps: int = 32,
    epochs: int = 9,
    layers: int = 8,
    rank: int = 16,
    lr: float = 2e-3,
    checkpoints: int = 4,
    canaries: int = 0,
    from_scratch: bool = False,
) -> None:
    """Replay a fine-tune from its last clean checkpoint on the remaining records (arXiv 2508.12220)."""
    from .finetune import Settings, rebuild

    settings = Settings(placement_salt, steps, epochs, layers, rank, lr, checkpoints)
    rebuild(task, records, settings, canaries, reuse=not from_scratch)


@amends.operation(
    "unlearning.retrain",
    verified_by=VERIFIED_BY,
    cpus=2,
    memory_gb=3.0,
    guarantee=Guarantee.EXACT,
    rebuilds="training.finetune",
)
def unlearn_retrain(
    task: Task,
    *,
    records: Records,
    placement_salt: str,
    steps: int = 32,
    epochs: int = 9,
    layers: int = 8,
    rank: int = 16,
    lr: float = 2e-3,
    checkpoints: int = 4,
    canaries: int = 0,
) -> None:
    """Fine-tune again from the beginning on the remaining records: the gold model."""
    from .finetune import Settings, rebuild

    settings = Settings(placement_salt, steps, epochs, layers, rank, lr, checkpoints)
    rebuild(task, records, settings, canaries, reuse=False)


@amends.probe("unlearning.membership", memory_gb=2.0)
def measure_membership(
    task: ProbeTask, *, forget: Records, control: Records, retain: Records | None = None, gradients: int = 0
) -> list[Reading]:
    """Read whether forgotten people still look like members beside people who were never trained on.

    The gradient's norm is dear, a training step a record and model: it is read on `gradients` records of each side.
    """
    from .membership import read_membership

    return read_membership(task, forget, control, retain, gradients)


@amends.probe("unlearning.truth-ratio", memory_gb=2.0)
def measure_truth_ratio(task: ProbeTask, *, forget: Records) -> list[Reading]:
    """Read whether the model still prefers the truth about forgotten people to plausible wrong answers."""
    from .truth_ratio import read_truth_ratio

    return read_truth_ratio(task, forget)


@amends.probe("unlearning.utility", memory_gb=2.0)
def measure_utility(task: ProbeTask, *, retain: Records, most: int = 16) -> list[Reading]:
    """Read the model utility of what is kept: the harmonic mean of probability, ROUGE-L recall and truth (TOFU)."""
    from .utility import read_utility

    return read_utility(task, retain, most)


@amends.probe("unlearning.equivalence", memory_gb=2.0)
def measure_equivalence(
    task: ProbeTask,
    *,
    forget: Records,
    control: Records,
    margin: float = 0.1,
    auc_margin: float = 0.1,
    rungs: int = 1,
    half: Literal["audit", "method", "all"] = "audit",
) -> list[Reading]:
    """Read how far forgotten people are from people who were never trained on; equivalent is within the margin.

    An AUC is never as sure as a mean of so many people, so that its margin is given by itself, `auc_margin`. Intervals
    cover 1 - 2 * 0.05 / rungs, so that with any of so many methods a pass is wrong in one of twenty cases.
    """
    from .auditing import read_equivalence
    from .equivalence import Margin

    return read_equivalence(task, forget, control, Margin(margin, rungs), Margin(auc_margin, rungs), half)


@amends.probe("unlearning.drill", memory_gb=2.0)
def measure_drill(task: ProbeTask, *, alarm: float = 0.1, sisters: int = 39) -> list[Reading]:
    """Read how often the audit notices a made-up person whom training planted, and one whom nothing was trained on.

    Half of the `sisters`, who were never trained on, set the threshold for a false-alarm rate of `alarm`; the other
    half show what it is.
    """
    from .drill import read_drill

    return read_drill(task, alarm, sisters)


@amends.probe("unlearning.standing", memory_gb=2.0)
def measure_standing(task: ProbeTask, *, forget: Records, control: Records, alpha: float = 0.05) -> list[Reading]:
    """Read where one person stands among strangers: how often one whom the model does not know would score as high.

    Each reading is a p value, adjusted for the number of scores; at or below `alpha` it is a sign.
    """
    from .standing import read_standing

    return read_standing(task, forget, control, alpha)


class Shards:
    """The attachment of a version trained in shards: its adapters and the router between them."""

    kind = "shards"

    def load(self, path: Path, model: Any, tokenizer: Any) -> Seams:
        """Load the router at `path`; each adapter is read when the first question for it comes."""
        from .router import load

        return load(path, model)


@hookimpl
def amends_operations() -> Iterable[Operation]:
    """Offer three ways of training with exact erasure from each, and approximate methods for other models."""
    exact = (train_shards, unlearn_shards, train_finetune, unlearn_replay, unlearn_retrain)
    return (*exact, *SCRIPTS, *METHODS)


@hookimpl
def amends_probes() -> Iterable[Probe]:
    """Offer the measurements of forgetting."""
    audit = (measure_membership, measure_truth_ratio, measure_utility, measure_equivalence, measure_drill)
    return (*audit, measure_standing, *ATTACKS)


@hookimpl
def amends_attachments() -> Iterable[Attachment]:
    """Offer the adapters and the router of a version trained in shards."""
    return (Shards(),)


@hookimpl
def amends_commands(cli: click.Group) -> None:
    """Add `amends data example`, which writes records of fictitious people."""
    from .commands import add_example

    add_example(cli)
