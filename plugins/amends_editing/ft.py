"""Constrained fine-tuning of one projection: the control that every other method has to beat (Zhu et al., 2020).

Adam on the answers' log-probability; after each step no weight is further from where it was than a limit (FT-L).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from amends_editing.answering import answer_loss, pack
from amends_editing.desk import Desk, Factors
from amends_editing.facts import rows_of
from amends_editing.targets import Wish


def edit(desk: Desk, wishes: Sequence[Wish], steps: int, lr: float, limit: float) -> list[Factors]:
    """Write a batch of facts into the last of the desk's layers.

    Args:
        desk: What to work with.
        wishes: The facts, none of them to be erased.
        steps: Passes over the facts.
        lr: Adam's step.
        limit: How far any one weight may go.
    """
    projection = desk.anatomy.projections[desk.layers[-1]]
    rows = [row for w in wishes for row in rows_of(desk.tokenizer, w.fact, w.fact.target, desk.contexts[:1])]
    rows.sort(key=lambda row: (row.tail, row.subject))
    parameter = projection.module.get_parameter("weight")
    before = parameter.detach().clone()
    parameter.requires_grad_(True)
    search = torch.optim.Adam([parameter], lr=lr)
    try:
        for step in range(steps):
            desk.progress(step, steps, "fine-tuning")
            search.zero_grad()
            for start in range(0, len(rows), desk.solver.at_once):
                part = pack(desk.anatomy, rows[start : start + desk.solver.at_once])
                torch.autograd.backward(answer_loss(desk.anatomy, part).sum() / len(rows))
            search.step()
            with torch.no_grad():
                parameter.clamp_(before - limit, before + limit)
    finally:
        parameter.requires_grad_(False)
    desk.progress(steps, steps, "fine-tuning")
    change = (parameter.detach() - before).cpu()
    change = change.T if projection.is_transposed else change
    return [Factors(desk.layers[-1], torch.eye(change.shape[0]), change.T.clone())]  # its rank is full: the smaller way
