"""How far an edit moved what the model says about others: the next token after the neighbours' prompts.

The perplexity of plain English, and its ratio to the reference's, is read by `utility.perplexity`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from amends import ProbeTask, Reading, Records
from amends_editing.asking import free_reading, in_steps, per_edit, persons_of, read_edits

if TYPE_CHECKING:
    from torch import Tensor


def divergence(reference: Tensor, now: Tensor) -> float:
    """Return KL(reference || now) in nats from two rows of log-probabilities, summed in float64."""
    before, after = reference.double(), now.double()
    return float((before.exp() * (before - after)).sum())


def read_drift(task: ProbeTask, records: Records) -> list[Reading]:
    """Read the mean divergence of the next token from the reference's after the neighbours' prompts.

    Each edit counts once, whatever the number of its neighbours. Without a reference there is nothing to read: NaN.
    """
    edits = read_edits(records)
    items = [(owner, near.prompt) for owner, edit in enumerate(edits) for near in edit.fact.neighbours]
    if task.reference is None:
        items = []
    found = in_steps(task, lambda some: _compare(task, some), [prompt for _, prompt in items], "comparing neighbours")
    values = per_edit(len(edits), [owner for owner, _ in items], found)
    asked = sorted({owner for owner, _ in items})  # by who has neighbours, not by what came out: NaN must be seen
    persons = persons_of(edits)
    shown = values[asked], [persons[owner] for owner in asked]
    detail = {"prompts": len(items), "left_out": len(edits) - len(asked)}
    return [free_reading("editing.drift/kl", *shown, seed=task.seed, unit="nats", detail=detail)]


def _compare(task: ProbeTask, prompts: Sequence[str]) -> list[float]:
    before, after = task.reference.next_token(prompts), task.model.next_token(prompts)
    return [divergence(reference, now) for reference, now in zip(before, after, strict=True)]
