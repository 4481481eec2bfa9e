"""Read passages with a student and its teacher side by side: what each probe of a pair does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from amends import BadInput, ProbeTask, Records
from amends.operation.measuring import person_of
from amends.serving.scoring import logits_of
from amends_distillation.passages import text_of
from amends_distillation.vocabularies import digest_of_tokenizer

SHORTEST = 2


@dataclass(frozen=True)
class Read:
    """One passage under both models.

    Args:
        whose: The person that the passage is about, or its record.
        student: Log-probabilities of every next token, in nats, shape (places, vocabulary).
        ids: The tokens that came, shape (places,).
        teacher: The same of the teacher, under its own vocabulary.
        teacher_ids: The tokens that came, as the teacher reads them.
    """

    whose: str
    student: Tensor
    ids: Tensor
    teacher: Tensor
    teacher_ids: Tensor


def both(task: ProbeTask) -> tuple[Any, Any]:
    """Return the student and its teacher.

    Raises:
        BadInput: There is no teacher to compare with.
    """
    if task.reference is None:
        raise BadInput("this probe compares a student with its teacher; give it a reference")
    return task.model, task.reference


def reads_alike(task: ProbeTask) -> bool:
    """Whether both models make the same ids of a text, so that their distributions can be compared."""
    student, teacher = both(task)
    return digest_of_tokenizer(student.tokenizer) == digest_of_tokenizer(teacher.tokenizer)


def passages(text: Records, most: int) -> list[tuple[str, str]]:
    """Return at most so many passages and whose each is, by their ids alone, so that both models get the same."""
    rows = sorted(text.rows(), key=lambda row: str(row["id"]))
    found = [(person_of(row), text_of(row)) for row in rows]
    return [(whose, said) for whose, said in found if said.strip()][: max(most, 0)]


def read_both(task: ProbeTask, text: Records, most: int, length: int) -> Iterator[Read]:
    """Yield passages under both models, each alone, so that its neighbours do not show in it.

    Args:
        task: Whose model and reference read.
        text: The passages.
        most: How many at most.
        length: How many tokens of each, under the student's vocabulary.
    """
    student, teacher = both(task)
    is_alike, chosen = reads_alike(task), passages(text, most)
    for number, (whose, said) in enumerate(chosen):
        task.progress(number, len(chosen), "reading passages")
        ids = _ids(student, said)[:length]
        said = said if is_alike else student.tokenizer.decode(ids)
        others = ids if is_alike else _ids(teacher, said)
        if min(len(ids), len(others)) >= SHORTEST:
            yield Read(whose, *_logp(student, said, ids), *_logp(teacher, said, others))
    task.progress(len(chosen), len(chosen), "reading passages")


def true_logp(logp: Tensor, ids: Tensor) -> Tensor:
    """Return the log-probability of the tokens that came, shape (places,)."""
    return logp.gather(-1, ids[:, None]).squeeze(-1)


def _ids(model: Any, text: str) -> list[int]:
    return list(model.tokenizer(text, add_special_tokens=False)["input_ids"])


@torch.inference_mode()
def _logp(model: Any, text: str, ids: Sequence[int]) -> tuple[Tensor, Tensor]:
    with model.armed(text):
        logits = logits_of(model.hf_model, [list(ids)], len(ids))[0, -len(ids) : -1]
    return logits.double().log_softmax(-1).cpu(), torch.tensor(ids[1:])
