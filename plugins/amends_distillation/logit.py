"""Match the teacher's next-token distributions (Hinton et al., 2015), which are asked for once and kept."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from amends import BadInput, ModelVersion, Records, Task
from amends_distillation.learning import Course, Settings, learn, learners
from amends_distillation.likeliest import Likeliest, divergence
from amends_distillation.pairs import Shape, open_pair
from amends_distillation.targets import Asked, likeliest_once, rounds

Direction = Literal["forward", "reverse"]


@dataclass(frozen=True)
class Matching:
    """What is matched.

    Args:
        direction: KL of teacher from student, or of student from teacher.
        temperature: Divides the logits of both.
        alpha: Share of the divergence in the loss; the rest is cross-entropy with the text itself.
        kept: How many of the teacher's likeliest tokens are kept at each place.
    """

    direction: Direction
    temperature: float
    alpha: float
    kept: int

    def __post_init__(self) -> None:
        """Refuse what matches nothing.

        Raises:
            BadInput: A number is out of its range.
        """
        if not self.temperature > 0 or not 0 <= self.alpha <= 1 or self.kept < 1:
            raise BadInput("give a temperature above 0, an alpha from 0 to 1, and keep at least 1 token")


def distil(
    task: Task, teacher: ModelVersion, text: Records, shape: Shape, settings: Settings, matching: Matching
) -> None:
    """Write a student that was taught the teacher's distributions over a text.

    Raises:
        BadInput: Teacher and student do not fit, or a parameter cannot be used.
        BadRecords: There is no text.
    """
    pair = open_pair(task, teacher, text, shape, settings.length)
    weights = learners(pair.student, settings.embeddings)
    asking = rounds(pair.ids) if matching.alpha > 0 else 0
    course = Course(task, weights, len(pair.ids), settings, {**pair.named, **asdict(shape), **asdict(matching)}, asking)
    known = None
    if asking:
        asked = Asked(matching.kept, matching.temperature)
        known = likeliest_once(task, pair, asked, asking + course.steps)
    del pair.teacher  # what it had to say is known

    def loss_of(places: Tensor, step: int) -> Tensor:
        ids = pair.ids[places]
        logits = pair.student(input_ids=ids, use_cache=False).logits[:, :-1]
        return mixed(known.at(places) if known else None, logits, ids[:, 1:], matching)

    pair.student.train()
    learn(course, loss_of)
    task.save(pair.student.eval(), pair.tokenizer)


def mixed(teacher: Likeliest | None, logits: Tensor, ids: Tensor, matching: Matching) -> Tensor:
    """Return alpha T² KL + (1 - alpha) CE, the mean over all places, in nats (Hinton et al., 2015, section 2).

    Args:
        teacher: Its likeliest tokens, shape (batch, places, kept); None where alpha is 0 and nobody asked it.
        logits: The student's, shape (batch, places, vocabulary).
        ids: The tokens that follow in the text, shape (batch, places).
        matching: Direction, temperature and alpha.
    """
    loss = logits.new_zeros(())
    if teacher is not None and matching.alpha > 0:
        is_reverse = matching.direction == "reverse"
        apart = divergence(teacher, logits, matching.temperature, is_reverse=is_reverse)
        loss = loss + matching.alpha * apart.mean()
    if matching.alpha < 1:
        loss = loss + (1 - matching.alpha) * F.cross_entropy(logits.flatten(0, -2), ids.flatten())
    return loss
