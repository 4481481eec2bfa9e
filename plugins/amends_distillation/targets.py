"""Ask the teacher once what it finds likely at each place, and keep the answer for all epochs and later runs."""

from __future__ import annotations

import torch
from torch import Tensor

from amends import Task
from amends_distillation.likeliest import Likeliest, likeliest_of
from amends_distillation.pairs import Pair

AT_ONCE = 8


def likeliest_once(task: Task, pair: Pair, kept: int, temperature: float, total: int, before: int = 0) -> Likeliest:
    """Return the teacher's likeliest tokens after every token of every window.

    They follow from the digests of teacher and text, and go with the first of them that is erased.

    Args:
        task: Whose memory keeps them.
        pair: Teacher and windows.
        kept: How many tokens at each place.
        temperature: Divides the teacher's logits.
        total: What the progress counts to.
        before: What it counts already.
    """
    length = pair.ids.shape[1]
    name = f"distillation.likeliest/{kept}/{temperature!r}/{length}"

    def make() -> bytes:
        return _ask(task, pair, kept, temperature, total, before).to_bytes()

    return Likeliest.from_bytes(task.memory.once(name, [pair.named["teacher"], pair.named["text"]], make))


def rounds(ids: Tensor) -> int:
    """Return in how many passes the teacher reads the windows."""
    return -(-len(ids) // AT_ONCE)


@torch.inference_mode()
def _ask(task: Task, pair: Pair, kept: int, temperature: float, total: int, before: int) -> Likeliest:
    found = []
    for number, some in enumerate(torch.split(pair.ids, AT_ONCE)):
        task.progress(before + number, total, "asking the teacher")
        logits = pair.teacher(input_ids=some, use_cache=False).logits[:, :-1]
        found.append(likeliest_of(logits, kept, temperature))
    return Likeliest(torch.cat([one.ids for one in found]).cpu(), torch.cat([one.logp for one in found]).cpu())
