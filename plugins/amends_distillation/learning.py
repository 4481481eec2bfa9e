"""Teach a student: what every distillation does alike, from the order of the windows to a checkpoint."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from amends import AmendsError, BadInput, Task
from amends_distillation.checkpoints import Checkpoint

LEAST = 0.05  # of the learning rate, where it ends
RISE = 0.05  # of the steps, in which it rises
CLIP = 1.0
KEPT = 8  # checkpoints of one run, the last of which alone is there
BETAS = (0.9, 0.95)

Loss = Callable[[Tensor, int], Tensor]
"""From the places of a batch's windows and the number of the step to a scalar."""


@dataclass(frozen=True)
class Settings:
    """How long and how strongly a student learns.

    Args:
        epochs: How often each window is taken.
        lr: Peak learning rate of AdamW.
        batch: Windows in a step.
        length: Tokens in a window.
        embeddings: Whether the words' vectors learn, and with tied ones the head; otherwise they stay as they begin.
        steps: How many steps there are, whatever the epochs; 0 for as many as the epochs have.
    """

    epochs: int
    lr: float
    batch: int
    length: int
    embeddings: bool
    steps: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that teach nothing.

        Raises:
            BadInput: One of them is not above zero.
        """
        for name in ("epochs", "lr", "batch"):
            if not getattr(self, name) > 0:
                raise BadInput(f"{name} is {getattr(self, name)}; give it above zero")
        if self.steps < 0:
            raise BadInput(f"steps is {self.steps}; give it as zero or more")


@dataclass(frozen=True)
class Course:
    """One student and what it learns from.

    Args:
        task: Whose seed and scratch directory are used.
        weights: What learns, by name.
        windows: How many windows there are.
        settings: How.
        bound: All that the run depends on besides task seed and settings.
        before: What the progress counts for what was done before the first step.
    """

    task: Task
    weights: Mapping[str, Tensor]
    windows: int
    settings: Settings
    bound: Mapping[str, Any]
    before: int = 0

    @property
    def steps(self) -> int:
        """How many steps there are."""
        return self.settings.steps or self.settings.epochs * math.ceil(self.windows / self.settings.batch)


def learn(course: Course, loss_of: Loss) -> None:
    """Take every step of a course, from the last checkpoint on where an attempt was killed.

    Raises:
        AmendsError: A loss is not finite.
        Cancelled: Somebody asked the task to stop.
    """
    settings, task, steps = course.settings, course.task, course.steps
    weights = [course.weights[name] for name in sorted(course.weights)]
    optimiser = torch.optim.AdamW(weights, lr=settings.lr, betas=BETAS, weight_decay=0.0, fused=True)
    point = Checkpoint(task.scratch / "student.safetensors", _bound(course))
    done, every = point.take(course.weights, optimiser), max(1, math.ceil(steps / KEPT))
    for number, places in enumerate(islice(_batches(course), steps)):
        if number < done:
            continue
        task.progress(course.before + number, course.before + steps, "teaching the student")
        optimiser.param_groups[0]["lr"] = settings.lr * rate_at(number, steps)
        optimiser.zero_grad()
        loss = loss_of(places, number)
        if not math.isfinite(loss.item()):
            raise AmendsError(f"the loss of step {number + 1} is not finite; give a smaller lr than {settings.lr:g}")
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(weights, CLIP, foreach=False)
        optimiser.step()
        if (number + 1) % every == 0:
            point.keep(number + 1, course.weights, optimiser)
    task.progress(course.before + steps, course.before + steps, "the student has learnt")


def rate_at(number: int, steps: int) -> float:
    """Return the share of the learning rate at a step: it rises in a straight line, and falls by half a cosine."""
    share = (number + 0.5) / steps
    return min(1.0, share / RISE) * (LEAST + (1 - LEAST) * 0.5 * (1 + math.cos(math.pi * share)))


def learners(student: Any, embeddings: bool) -> dict[str, Tensor]:
    """Return the weights of a student that learn, by name, and let gradients flow into these alone."""
    frozen = set()
    if not embeddings:
        outer = (student.get_input_embeddings(), student.get_output_embeddings())
        frozen = {id(tensor) for module in outer if module is not None for tensor in module.parameters()}
    found = {}
    for name, tensor in student.named_parameters():
        tensor.requires_grad_(id(tensor) not in frozen)
        if tensor.requires_grad:
            found[name] = tensor
    return found


def seed_of(seed: int, what: str) -> int:
    """Return the seed of one kind of draw."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{what}".encode()).digest()[:7], "big")


def _batches(course: Course) -> Iterator[Tensor]:
    """Yield the places of windows, a step's after another's, without an end; every epoch has an order of its own."""
    generator = torch.Generator().manual_seed(seed_of(course.task.seed, "order"))
    while True:
        yield from torch.split(torch.randperm(course.windows, generator=generator), course.settings.batch)


def _bound(course: Course) -> dict[str, Any]:
    stack = [torch.__version__, torch.get_num_threads(), course.task.device]
    return {**course.bound, "settings": asdict(course.settings), "seed": course.task.seed, "stack": stack}
