"""Teach a student what its teacher says, as text (Kim and Rush, 2016): no vocabulary need be shared."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from amends import BadInput, ModelVersion, Records, Task, host
from amends.operation.files import load_model
from amends.serving import open_version
from amends_distillation.learning import Course, Settings, learn, learners
from amends_distillation.pairs import Shape, open_student
from amends_distillation.passages import texts_of, windows

AT_ONCE = 16


def distil(
    task: Task, teacher: ModelVersion, text: Records, shape: Shape, settings: Settings, given: int, tokens: int
) -> None:
    """Write a student that was taught the teacher's own continuations of passages.

    The teacher is served whole, attachments included, so that the student learns what a user would hear. It continues
    greedily, which stands for the mode that beam search looks for in the paper.

    Args:
        task: Whose student learns.
        teacher: Who speaks.
        text: The passages that are continued.
        shape: Of a new student.
        settings: How it learns.
        given: How many words of each passage the teacher is given.
        tokens: How many tokens it says after them.

    Raises:
        BadInput: Nothing is given or said, or a shape cannot be made.
        BadRecords: There is no text.
    """
    if given < 1 or tokens < 1:
        raise BadInput("give the teacher at least 1 word of a passage, and let it say at least 1 token")
    path = task.models["teacher"]
    beginnings = [" ".join(passage.split()[:given]) for passage in texts_of(text)]
    asking = -(-len(beginnings) // AT_ONCE)
    name = f"distillation.sequence/{given}/{tokens}"
    spoken = task.memory.once(
        name, [teacher.digest, text.digest], lambda: json.dumps(list(_speak(task, path, beginnings, tokens))).encode()
    )
    student, tokenizer = open_student(task, *load_model(path, task.device), shape)
    ids = windows(tokenizer, json.loads(spoken), settings.length).to(task.device)
    named = {"teacher": teacher.digest, "text": text.digest, "student": task.source_digest, "said": [given, tokens]}
    weights = learners(student, settings.embeddings)
    course = Course(task, weights, len(ids), settings, {**named, **asdict(shape)}, asking)

    def loss_of(places: Tensor, step: int) -> Tensor:
        rows = ids[places]
        logits = student(input_ids=rows, use_cache=False).logits[:, :-1]
        return F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())

    student.train()
    learn(course, loss_of)
    task.save(student.eval(), tokenizer)


def _speak(task: Task, path: Any, beginnings: Sequence[str], tokens: int) -> Iterator[str]:
    """Yield each beginning with what the teacher says after it."""
    model = open_version(path, host.current(), task.device)
    for start in range(0, len(beginnings), AT_ONCE):
        task.progress(start // AT_ONCE, -(-len(beginnings) // AT_ONCE) + 1, "letting the teacher speak")
        some = beginnings[start : start + AT_ONCE]
        for first, then in zip(some, model.complete(some, tokens), strict=True):
            yield f"{first} {then.strip()}"
