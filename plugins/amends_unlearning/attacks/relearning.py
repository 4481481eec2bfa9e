"""Teach the model a little and ask for the rest: what was hidden comes back faster than what was never there.

The same steps are taken with control people's records, so that what counts is not how much is learned but how much
more of the forgotten. Weights are given back as they were, bit for bit.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from amends import BadInput, Reading
from amends.operation.descent import adamw, draws
from amends.operation.measuring import person_of, spread_over_people

from ..gradients import answer_loss, gives_gradients, lent
from ..lora import fresh, seed_of
from ..training import trainable
from .asking import likeliest, plainly
from .judging import Row, Sides, unremembered

CLIP = 1.0


@dataclass(frozen=True)
class Training:
    """A little fine-tuning by Adam.

    Args:
        steps: Of the optimiser.
        lr: Its step size.
        batch: Records in each step.
        layers: How many top layers are trained; all, where the model has no more.
        rank: Of a low-rank adapter on them, or 0 for their own weights.
    """

    steps: int
    lr: float
    batch: int
    layers: int
    rank: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that teach nothing.

        Raises:
            BadInput: One of them is not above zero.
        """
        if min(self.steps, self.batch, self.layers) < 1 or not self.lr > 0 or self.rank < 0:
            raise BadInput("relearning needs steps, lr, batch and layers above zero")


def run(sides: Sides, training: Training, people: int) -> list[Reading]:
    """Teach one record of each of some people of a side, and ask for the rest of theirs."""
    if not gives_gradients(sides.task.model):
        return sides.unread("what is served gives no weights")
    success: dict[str, Sequence[float]] = {}
    asked: dict[str, Sequence[Row]] = {}
    taught = 0
    for who, rows in sides.rows.items():
        lessons, asked[who] = divide(sides.everything[who], rows, people)
        taught = max(taught, len(lessons))
        success[who] = taught_and_asked(sides, lessons, {who: asked[who]}, training)[who]
    return sides.read(success, rows=asked, taught=taught, steps=training.steps)


def run_benign(sides: Sides, training: Training, most: int) -> list[Reading]:
    """Teach records of retained people, and ask for the others."""
    if not gives_gradients(sides.task.model):
        return sides.unread("what is served gives no weights")
    lessons = spread_over_people(sides.everything.get("retained", ()), most)
    if not lessons:
        return sides.unread("there are no records of retained people to teach")
    success = taught_and_asked(sides, lessons, sides.rows, training)
    return sides.read(success, taught=len(lessons), steps=training.steps)


def divide(everything: Sequence[Row], judged: Sequence[Row], people: int) -> tuple[list[Row], list[Row]]:
    """Return one record to teach of each of at most `people` people, and what is judged of their others.

    What is taught is of the half that is not judged, where the person has such a record.
    """
    ids = {row["id"] for row in judged}
    whose = list(dict.fromkeys(person_of(row) for row in judged))[: max(people, 0)]
    order = sorted(everything, key=lambda row: (row["id"] in ids, str(row["id"])))
    lessons = [next(row for row in order if person_of(row) == person) for person in whose]
    taught = {row["id"] for row in lessons}
    return lessons, [row for row in judged if person_of(row) in whose and row["id"] not in taught]


def taught_and_asked(
    sides: Sides, lessons: Sequence[Row], asked: Mapping[str, Sequence[Row]], training: Training
) -> dict[str, list[float]]:
    """Return for each side how likely its answers are after the lessons."""
    task = sides.task
    model = unremembered(task.model)
    with ExitStack() as stack:
        if lessons:
            stack.enter_context(taught(sides, model, lessons, training))
        return {who: likeliest(task, rows, plainly, who, model) for who, rows in asked.items()}


@contextmanager
def taught(sides: Sides, model: Any, lessons: Sequence[Row], training: Training) -> Iterator[None]:
    """Train on the lessons; while the context lasts the model has learned, afterwards every bit is as before."""
    hf_model, seed = model.hf_model, f"{sides.task.seed}:{sides.probe}"
    depth = min(training.layers, hf_model.config.num_hidden_layers)
    with ExitStack() as stack:
        stack.enter_context(lent(hf_model))
        if training.rank:
            adapter = fresh(hf_model, depth, training.rank, seed)
            weights = adapter.parameters()
            stack.enter_context(trainable(adapter))
            stack.enter_context(adapter.armed(hf_model))
        else:
            weights = [weight for layer in layers_of(hf_model)[-depth:] for weight in layer.parameters()]
            stack.enter_context(given_back(weights))
        train(sides, model, lessons, training, weights)
        yield


def train(sides: Sides, model: Any, lessons: Sequence[Row], training: Training, weights: Sequence[Tensor]) -> None:
    """Take the steps; each record runs alone, with its attachments armed."""
    batch = min(training.batch, len(lessons))
    order = draws(len(lessons), batch, seed_of(f"{sides.task.seed}:{sides.probe}:order"))
    optimiser = adamw(weights, training.lr)
    for step in range(training.steps):
        sides.task.progress(step, training.steps, "relearning")
        optimiser.zero_grad()
        for index in next(order):
            row = lessons[index]
            with model.armed(row["prompt"]), torch.enable_grad():
                torch.autograd.backward(answer_loss(model, row["prompt"], row["answer"]) / batch)
        torch.nn.utils.clip_grad_norm_(weights, CLIP, foreach=False)
        optimiser.step()


@contextmanager
def given_back(weights: Sequence[Tensor]) -> Iterator[None]:
    """Let some weights be trained; afterwards their bits and flags are as before."""
    kept = [copy.deepcopy(weight.detach()) for weight in weights]
    for weight in weights:
        weight.requires_grad_(True)
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, before in zip(weights, kept, strict=True):
                weight.requires_grad_(False)
                weight.grad = None
                weight.copy_(before)


def layers_of(hf_model: Any) -> Any:
    """Return the decoder's layers.

    Raises:
        BadInput: They are built in a way that is not known here.
    """
    body = hf_model.get_decoder()
    for name in ("layers", "h"):
        if hasattr(body, name):
            return getattr(body, name)
    raise BadInput("relearning knows no layers in this model; leave this attack out of the policy's probes")
