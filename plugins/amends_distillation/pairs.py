"""A teacher and its student, opened for one task, and the text between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from amends import BadInput, ModelVersion, Records, Task
from amends.operation.files import load_model
from amends_distillation.passages import texts_of, windows
from amends_distillation.students import Start, make_student
from amends_distillation.vocabularies import check_same


@dataclass(frozen=True)
class Shape:
    """What a new student looks like.

    Args:
        layers: How many; 0 for half of the teacher's.
        width: Size of its hidden states; 0 for the teacher's.
        start: Where its weights come from.
    """

    layers: int
    width: int
    start: Start


@dataclass
class Pair:
    """A teacher, a student, and what the student is taught on.

    Args:
        teacher: Its weights; frozen.
        student: Its weights, in training.
        tokenizer: The student's.
        ids: The windows as the teacher reads them, since what it says of them is kept; shape (windows, length).
        named: Digests of teacher, text, and where there is one of the student that it began as.
    """

    teacher: Any
    student: Any
    tokenizer: Any
    ids: Tensor
    named: dict[str, str]


def open_pair(task: Task, teacher: ModelVersion, text: Records, shape: Shape, length: int) -> Pair:
    """Load the teacher, and load the student or make one.

    Raises:
        BadInput: The student has another vocabulary, or a shape cannot be made.
    """
    task.progress(0, 1, "opening the teacher")
    taught = load_model(task.models["teacher"], task.device)
    taught[0].requires_grad_(False)
    student, tokenizer = open_student(task, *taught, shape)
    check_same(taught[1], tokenizer)
    ids = windows(taught[1], texts_of(text), length).to(task.device)
    named = {"teacher": teacher.digest, "text": text.digest, "student": task.source_digest}
    return Pair(taught[0], student, tokenizer, ids, named)


def open_student(task: Task, teacher: Any, tokenizer: Any, shape: Shape) -> tuple[Any, Any]:
    """Return the source, where the task has one, or else a new student of this shape, and its tokenizer.

    Raises:
        BadInput: A shape is given for a student that has one.
    """
    if task.source is None:
        return make_student(teacher, shape.layers, shape.width, shape.start, task.seed), tokenizer
    if shape.layers or shape.width:
        raise BadInput("this student exists and keeps its shape; leave layers and width out, or name a new student")
    return task.load()
