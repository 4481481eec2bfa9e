"""The procedure that the benchmark stands beside, as it was measured first and nothing made faster.

Negative preference optimisation (Zhang et al., 2024) on a low-rank adapter of the top layers: what the layers below
give each record is kept, and so is what the source says of the forgotten; five passes over them, each step one padded
batch of eight forgotten and eight kept records, with Adam. What it forgets is not asked: only its time is wanted.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from material import Row
from torch import Tensor

from amends.operation.descent import check_finite
from amends.operation.files import load_model
from amends.scheduler.steady import steady
from amends_unlearning.activations import Example, answer_logp, check_model, prepare
from amends_unlearning.lora import fresh
from amends_unlearning.methods.npo import npo_loss
from amends_unlearning.training import trainable

BATCH, EPOCHS, LR, BETA, RANK, SEED = 8, 5, 1e-3, 0.1, 16, 7


@dataclass(frozen=True)
class Timed:
    """What the procedure took.

    Args:
        steps: How many there were.
        stepping: CPU-seconds of the steps alone.
        whole: CPU-seconds of everything: loading the model, reading the records, the steps, merging and saving.
        losses: The loss of each step.
    """

    steps: int
    stepping: float
    whole: float
    losses: list[float]


def timed(source: Path, output: Path, forgotten: Sequence[Row], kept: Sequence[Row], layers: int) -> Timed:
    """Run the procedure on a version's model, save what it makes, and say what it took.

    Args:
        source: The version that knows everybody.
        output: Where the model goes.
        forgotten: Records to forget.
        kept: Records to keep; each step takes the next eight, and after the last the first again.
        layers: How many top layers are adapted.

    Raises:
        AmendsError: A loss became NaN or infinite.
    """
    with steady(1, SEED, True):
        return _timed(source, output, forgotten, kept, layers)


def _timed(source: Path, output: Path, forgotten: Sequence[Row], kept: Sequence[Row], layers: int) -> Timed:
    began = time.process_time()
    model, tokenizer = load_model(source)
    check_model(model)
    lost, held = ([prepare(model, tokenizer, row, layers) for row in rows] for rows in (forgotten, kept))
    with torch.no_grad():
        reference = torch.cat([sequence_logp(model, [example], layers) for example in lost])
    adapter = fresh(model, layers, RANK, f"plain:{SEED}")
    before_steps = time.process_time()
    with trainable(adapter):
        losses = descend(model, adapter, lost, held, reference, layers)
    stepping = time.process_time() - before_steps
    adapter.merge(model)
    model.save_pretrained(output)
    return Timed(len(losses), stepping, time.process_time() - began, losses)


def descend(
    model: Any, adapter: Any, lost: Sequence[Example], held: Sequence[Example], reference: Tensor, layers: int
) -> list[float]:
    """Take every step, and return their losses."""
    optimiser = torch.optim.Adam(adapter.parameters(), lr=LR)
    generator = torch.Generator().manual_seed(SEED)
    losses: list[float] = []
    for _ in range(EPOCHS):
        order = torch.randperm(len(lost), generator=generator).tolist()
        for start in range(0, len(order), BATCH):
            places = order[start : start + BATCH]
            beside = [held[(len(losses) * BATCH + number) % len(held)] for number in range(BATCH)]
            optimiser.zero_grad()
            with adapter.armed(model):
                loss = step_loss(model, [lost[place] for place in places], beside, reference[places], layers)
                check_finite(loss.detach())
                torch.autograd.backward(loss)
            optimiser.step()
            losses.append(float(loss.detach()))
    return losses


def step_loss(model: Any, lost: Sequence[Example], beside: Sequence[Example], reference: Tensor, layers: int) -> Tensor:
    """Return the loss of forgotten and kept records that are run as one batch, padded to the longest of them."""
    logp = sequence_logp(model, [*lost, *beside], layers)
    tokens = torch.tensor([len(example.answer) for example in beside])
    return npo_loss(logp[: len(lost)], reference, BETA) - (logp[len(lost) :] / tokens).mean()


def sequence_logp(model: Any, examples: Sequence[Example], layers: int) -> Tensor:
    """Return the log-likelihood of each whole answer in a padded batch, in nats, shape (batch,)."""
    logp, owner = answer_logp(model, examples, layers)
    return torch.zeros(len(examples)).index_add(0, owner, logp)
