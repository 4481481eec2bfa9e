"""Ask the teacher once what it finds likely at each place, and keep the answer for all epochs and later runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from amends import Task
from amends_distillation.likeliest import Likeliest, likeliest_of
from amends_distillation.pairs import Pair

AT_ONCE = 8


@dataclass
class Asked:
    """What a pass of the teacher that is made anyway is to tell of its distributions as well.

    Args:
        kept: How many tokens at each place; 0 asks nothing.
        temperature: Divides the teacher's logits.
        found: What it told, a batch after another.
    """

    kept: int
    temperature: float
    found: list[Likeliest] = field(default_factory=list)

    def add(self, teacher: Any, last: Tensor) -> None:
        """Take what follows from the last hidden states of a batch, shape (batch, places, width)."""
        if self.kept:
            self.found.append(likeliest_of(teacher.get_output_embeddings()(last[:, :-1]), self.kept, self.temperature))

    def joined(self) -> Likeliest:
        """Return all of it."""
        return Likeliest(
            torch.cat([one.ids for one in self.found]).cpu(), torch.cat([one.logp for one in self.found]).cpu()
        )


def likeliest_once(task: Task, pair: Pair, asked: Asked, total: int, before: int = 0) -> Likeliest:
    """Return the teacher's likeliest tokens after every token of every window.

    They follow from the digests of teacher and text, and go with the first of them that is erased.

    Args:
        task: Whose memory keeps them.
        pair: Teacher and windows.
        asked: What is kept of them; a pass that was made anyway has them already.
        total: What the progress counts to.
        before: What it counts already.
    """
    name = f"distillation.likeliest/{asked.kept}/{asked.temperature!r}/{pair.ids.shape[1]}"

    def make() -> bytes:
        if not asked.found:
            _ask(task, pair, asked, total, before)
        return asked.joined().to_bytes()

    return Likeliest.from_bytes(task.memory.once(name, [pair.named["teacher"], pair.named["text"]], make))


def rounds(ids: Tensor) -> int:
    """Return in how many passes the teacher reads the windows."""
    return -(-len(ids) // AT_ONCE)


@torch.inference_mode()
def _ask(task: Task, pair: Pair, asked: Asked, total: int, before: int) -> None:
    for number, some in enumerate(torch.split(pair.ids, AT_ONCE)):
        task.progress(before + number, total, "asking the teacher")
        asked.add(pair.teacher, pair.teacher.base_model(input_ids=some, use_cache=False).last_hidden_state)
