"""Negative preference optimisation on a low-rank adapter, for a model that was not trained in shards.

Approximate: it pushes the forgotten answers below the parent's likelihood and rehearses records to keep.
Readings decide whether that was enough; nothing here proves it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from amends import BadInput, BadRecords, Records, Task

from .activations import Example, answer_logp, check_model, prepare
from .lora import fresh, seed_of
from .plan import checked
from .training import loss_of, trainable

CLIP = 1.0


@dataclass(frozen=True)
class Settings:
    """How strongly and how long to unlearn.

    Args:
        beta: Inverse temperature; smaller is closer to gradient ascent.
        retain_weight: Weight of the negative log-likelihood of the records to keep.
        epochs: Passes over the records to forget.
        lr: Learning rate of AdamW.
        layers: How many top layers are adapted; all, where the model has no more.
        rank: Rank of the adapter.
        batch: Records to forget, and as many to keep, in each step.
    """

    beta: float
    retain_weight: float
    epochs: int
    lr: float
    layers: int
    rank: int
    batch: int

    def __post_init__(self) -> None:
        """Refuse settings that unlearn nothing.

        Raises:
            BadInput: One of them is not above zero.
        """
        for name in ("beta", "epochs", "lr", "layers", "rank", "batch"):
            if not getattr(self, name) > 0:
                raise BadInput(f"{name} is {getattr(self, name)}; unlearning needs it above zero")


def npo_loss(policy_logp: Tensor, reference_logp: Tensor, beta: float) -> Tensor:
    """Negative preference loss (Zhang et al., 2024, L_NPO).

    Args:
        policy_logp: Log-likelihood of each forgotten answer under the model, in nats, shape (batch,).
        reference_logp: The same under the frozen parent, shape (batch,).
        beta: Inverse temperature; smaller is closer to gradient ascent.

    Returns:
        The mean loss, a scalar.
    """
    return -2 / beta * F.logsigmoid(-beta * (policy_logp - reference_logp)).mean()


def sequence_logp(model: Any, examples: Sequence[Example], layers: int) -> Tensor:
    """Return the log-likelihood of each whole answer, in nats, shape (batch,)."""
    logp, owner = answer_logp(model, examples, layers)
    return torch.zeros(len(examples), device=logp.device).index_add(0, owner, logp)


def unlearn(task: Task, forget: Records, retain: Records, settings: Settings) -> None:
    """Write the source's model with an adapter merged into its weights that lowers what is to be forgotten.

    Raises:
        BadRecords: There is nothing to forget, or nothing to keep.
    """
    model, tokenizer = task.load()
    check_model(model)
    settings = replace(settings, layers=min(settings.layers, model.config.num_hidden_layers))
    lost, kept = (
        [prepare(model, tokenizer, row, settings.layers) for row in checked(records.rows())]
        for records in (forget, retain)
    )
    if not lost or not kept:
        raise BadRecords("negative preference optimisation needs records to forget and records to keep; give it both")
    with torch.no_grad():
        reference = torch.cat([sequence_logp(model, [example], settings.layers) for example in lost])
    adapter = fresh(model, settings.layers, settings.rank, f"{task.seed}:npo")
    optimiser = torch.optim.AdamW(adapter.parameters(), lr=settings.lr, weight_decay=0.0, foreach=False)
    steps = list(_steps(len(lost), len(kept), settings, task.seed))
    with trainable(adapter), adapter.armed(model):
        for number, (some_lost, some_kept) in enumerate(steps):
            task.progress(number, len(steps), "unlearning")
            optimiser.zero_grad()
            policy = sequence_logp(model, [lost[index] for index in some_lost], settings.layers)
            loss = npo_loss(policy, reference[some_lost], settings.beta)
            replay = loss_of(model, [kept[index] for index in some_kept], settings.layers)
            torch.autograd.backward(loss + settings.retain_weight * replay)
            torch.nn.utils.clip_grad_norm_(adapter.parameters(), CLIP, foreach=False)
            optimiser.step()
    adapter.merge(model)
    task.save(model, tokenizer)


def _steps(lost: int, kept: int, settings: Settings, seed: int) -> Iterator[tuple[list[int], list[int]]]:
    """Yield for each step which records to forget and which to rehearse; every record to keep has its turn."""
    generator = torch.Generator().manual_seed(seed_of(f"{seed}:npo:order"))
    queue: list[int] = []
    for _ in range(settings.epochs):
        order = torch.randperm(lost, generator=generator).tolist()
        for start in range(0, lost, settings.batch):
            while len(queue) < settings.batch:
                queue += torch.randperm(kept, generator=generator).tolist()
            yield order[start : start + settings.batch], queue[: settings.batch]
            queue = queue[settings.batch :]
