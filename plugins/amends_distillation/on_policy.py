"""Teach a student on what it says itself: generalised knowledge distillation (Agarwal et al., 2024, 2306.13649)."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from amends import BadInput, ModelVersion, Records, Task
from amends_distillation.divergences import generalised_jsd
from amends_distillation.learning import Course, Settings, learn, learners, seed_of
from amends_distillation.pairs import Pair, Shape, open_pair
from amends_distillation.sampling import continued


@dataclass(frozen=True)
class Sampling:
    """What is compared, and where.

    Args:
        beta: Weight of the teacher in the mixture: 0 is forward KL, 1 reverse KL.
        share: Share of the steps on the student's own samples (lambda in the paper); the others take the text.
        tokens: How many tokens of a window the student says itself, or of the text are compared.
        temperature: Divides the logits of both in the comparison.
    """

    beta: float
    share: float
    tokens: int
    temperature: float

    def __post_init__(self) -> None:
        """Refuse what compares nothing.

        Raises:
            BadInput: A number is out of its range.
        """
        if not 0 <= self.beta <= 1 or not 0 <= self.share <= 1 or not self.temperature > 0 or self.tokens < 1:
            raise BadInput("give beta and share from 0 to 1, a temperature above 0, and at least 1 token to say")


def distil(
    task: Task, teacher: ModelVersion, text: Records, shape: Shape, settings: Settings, sampling: Sampling
) -> None:
    """Write a student that was taught where it goes by itself.

    Raises:
        BadInput: Teacher and student do not fit, or nothing of a window is left as a prompt.
        BadRecords: There is no text.
    """
    pair = open_pair(task, teacher, text, shape, settings.length)
    length = pair.ids.shape[1]
    if sampling.tokens >= length:
        raise BadInput(f"tokens is {sampling.tokens}, and a window has {length}; leave some of it as a prompt")
    weights = learners(pair.student, settings.embeddings)
    course = Course(task, weights, len(pair.ids), settings, {**pair.named, **asdict(shape), **asdict(sampling)})

    def loss_of(places: Tensor, step: int) -> Tensor:
        return apart(pair, said(pair, places, sampling, task.seed, step), sampling)

    pair.student.train()
    learn(course, loss_of)
    task.save(pair.student.eval(), pair.tokenizer)


def said(pair: Pair, places: Tensor, sampling: Sampling, seed: int, step: int) -> Tensor:
    """Return what a step compares on: windows whose end the student says, or the windows as they are."""
    generator = torch.Generator().manual_seed(seed_of(seed, f"share-{step}"))
    ids = pair.ids[places]
    if not torch.rand((), generator=generator).item() < sampling.share:
        return ids
    return continued(pair.student, ids[:, : -sampling.tokens], sampling.tokens, seed_of(seed, f"sample-{step}"))


def apart(pair: Pair, ids: Tensor, sampling: Sampling) -> Tensor:
    """Return the mean divergence over the last tokens of rows; no gradient runs through the sampling.

    Args:
        pair: Teacher and student.
        ids: Shape (rows, places).
        sampling: How they are compared.
    """
    kept = sampling.tokens + 1
    with torch.no_grad():
        teacher = pair.teacher(input_ids=ids, use_cache=False, logits_to_keep=kept).logits[:, :-1]
    student = pair.student(input_ids=ids, use_cache=False, logits_to_keep=kept).logits[:, :-1]
    p, q = ((logits / sampling.temperature).log_softmax(-1) for logits in (teacher, student))
    return generalised_jsd(p, q, sampling.beta).mean()
