"""Hidden states of a student against its teacher's: which layers belong together, and how far apart they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from safetensors.torch import load, save
from torch import Tensor

from amends import BadInput, Task
from amends_distillation.pairs import Pair
from amends_distillation.states import caught
from amends_distillation.targets import AT_ONCE, Asked

SMALLEST = 1e-6  # of a variance, below which a dimension says nothing


@dataclass(frozen=True)
class States:
    """What a teacher's layers gave.

    Args:
        of: For each student layer that is compared, the teacher's states, shape (windows, places, width).
        spread: For each, the variance of every dimension over all places but the first, shape (width,).
    """

    of: Mapping[int, Tensor]
    spread: Mapping[int, Tensor]


def partners(depth: int, teacher_depth: int, chosen: Sequence[int], matched: int) -> dict[int, int]:
    """Return for student layers the teacher layer whose output each is to give.

    Where the student's layers were chosen from the teacher's, one has to do the work of those that were left out after
    it: what it gives is what the next chosen one is used to being given.

    Args:
        depth: Layers of the student.
        teacher_depth: Layers of the teacher.
        chosen: Which of the teacher's the student began with; empty where it began otherwise.
        matched: How many of the student's layers are compared, spread with the last among them; 0 for all.

    Raises:
        BadInput: There are not so many.
    """
    if not 0 <= matched <= depth:
        raise BadInput(f"matched is {matched}; the student has {depth} layers, so give 0 to {depth}")
    if chosen:
        given = [place - 1 for place in chosen[1:]] + [teacher_depth - 1]
    else:
        given = [round((place + 1) * teacher_depth / depth) - 1 for place in range(depth)]
    count = matched or depth
    kept = {round((place + 1) * depth / count) - 1 for place in range(count)}
    return {place: max(0, given[place]) for place in sorted(kept)}


def states_once(task: Task, pair: Pair, partner: Mapping[int, int], asked: Asked, total: int) -> States:
    """Return the teacher's states at the partners of student layers, from an earlier run where there was one.

    They are kept in half precision, and follow from the digests of teacher and text. What the teacher finds likely is
    asked in the same pass and left in `asked`, for whoever keeps that.

    Args:
        task: Whose memory keeps them.
        pair: Teacher and windows.
        partner: The teacher's layer for each compared one of the student's.
        asked: Whether anything else is to be asked, and where the answer goes.
        total: What the progress counts to.
    """
    layers = sorted(set(partner.values()))
    name = f"distillation.states/{','.join(map(str, layers))}/{pair.ids.shape[1]}"

    def make() -> bytes:
        return bytes(save(_ask(task, pair, layers, asked, total)))

    found = load(task.memory.once(name, [pair.named["teacher"], pair.named["text"]], make))
    held = {layer: found[str(layer)] for layer in layers}
    spread = {layer: _spread(tensor) for layer, tensor in held.items()}
    return States({own: held[at] for own, at in partner.items()}, {own: spread[at] for own, at in partner.items()})


@torch.inference_mode()
def _ask(task: Task, pair: Pair, layers: Sequence[int], asked: Asked, total: int) -> dict[str, Tensor]:
    found: dict[str, list[Tensor]] = {str(layer): [] for layer in layers}
    for number, some in enumerate(torch.split(pair.ids, AT_ONCE)):
        task.progress(number, total, "asking the teacher's layers")
        with caught(pair.teacher, layers) as states:
            last = pair.teacher.base_model(input_ids=some, use_cache=False).last_hidden_state
        asked.add(pair.teacher, last)
        for layer in layers:
            found[str(layer)].append(states[layer].to(torch.bfloat16).cpu())
    return {name: torch.cat(some) for name, some in found.items()}


def _spread(states: Tensor) -> Tensor:
    """Return the variance of every dimension; the first place is left out, whose states are of another size."""
    return states[:, 1:].float().flatten(0, 1).var(0).clamp(min=SMALLEST)


def distance(student: Mapping[int, Tensor], teacher: States, places: Tensor, maps: Mapping[int, Tensor]) -> Tensor:
    """Return the mean over layers of the mean squared error of mapped states, each dimension by its variance.

    With states h, a map W and the variance v of the teacher's dimension i this is the mean of
    ((W h_s)_i - (h_t)_i)² / v_i over places but the first, over dimensions and over layers; 1 is what a constant at
    the teacher's mean would reach. (After FitNets, Romero et al., 2015, eq. 3, which has neither variance nor layers.)

    Args:
        student: States by layer, shape (batch, places, own width).
        teacher: Its states and their variances.
        places: Which windows these are, shape (batch,).
        maps: By layer, shape (teacher's width, own width).
    """
    parts = []
    for layer, states in student.items():
        theirs = teacher.of[layer][places][:, 1:].to(states.device, torch.float32)
        apart = states[:, 1:] @ maps[layer].T - theirs
        parts.append((apart**2 / teacher.spread[layer].to(states.device)).mean())
    return torch.stack(parts).mean()


def fresh_maps(partner: Mapping[int, int], width: int, own: int, seed: int) -> dict[int, Tensor]:
    """Return a map for each layer: the identity where widths agree, else rows or columns that are orthonormal."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for layer in partner:
        if width == own:
            found[layer] = torch.eye(width)
        else:
            drawn = torch.randn(max(width, own), min(width, own), generator=generator)
            whole = torch.linalg.qr(drawn).Q
            found[layer] = whole if width > own else whole.T.contiguous()
    return found
