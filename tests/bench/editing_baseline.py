"""The papers' procedure as it is written down, nothing made faster: what the benchmark stands beside.

ROME and MEMIT as their papers describe them (Meng et al., 2022 and 2023): 25 steps of Adam at 0.5, each a full forward
pass through all layers of the prompt after every one of six contexts and of the essence prompt, one fact at a time;
keys and current values read by full forward passes; float64 solves by a general solver for each fact and layer.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from editing_records import Subject, Tally, ask
from torch import Tensor

from amends_editing.covariance import Moments
from amends_editing.desk import CONTEXTS
from amends_editing.facts import Fact, row_of
from amends_editing.guarding import put_back
from amends_editing.structure import first_of
from amends_editing.targets import ESSENCE

STEPS, LR, DECAY, KL_WEIGHT, CLAMP = 25, 0.5, 0.5, 0.0625, 4.0
LOW_ENOUGH = 0.05  # where the papers' loop ends early


@dataclass(eq=False)
class Plain:
    """The model as the plain procedure sees it."""

    subject: Subject
    moments: Moments
    layers: Sequence[int]
    weight: float
    shrinkage: float = 0.01

    def forward(self, rows: Sequence[Any], hooks: Sequence[Any] = ()) -> Tensor:
        """Return all logits of rows, padded at the end."""
        length = max(len(row.tokens) for row in rows)
        tokens = torch.zeros(len(rows), length, dtype=torch.long)
        mask = torch.zeros_like(tokens)
        for number, row in enumerate(rows):
            tokens[number, : len(row.tokens)] = torch.tensor(row.tokens)
            mask[number, : len(row.tokens)] = 1
        logits: Tensor = self.subject.anatomy.model(input_ids=tokens, attention_mask=mask, use_cache=False).logits
        return logits

    def target(self, fact: Fact) -> tuple[Tensor, Tensor]:
        """Return the value that the last layer is to put out at the subject's last token, and what it puts out now."""
        tokenizer = self.subject.tokenizer
        rows = [row_of(tokenizer, fact.prompt, fact.subject, fact.target, before) for before in CONTEXTS]
        rows.append(row_of(tokenizer, ESSENCE.format(fact.subject), fact.subject))
        block = self.subject.anatomy.blocks[self.layers[-1]]
        delta = torch.zeros(self.subject.anatomy.width, requires_grad=True)
        seen: list[Tensor] = []

        def shift(_: Any, __: Any, out: Any) -> Any:
            hidden = first_of(out).clone()
            seen.append(hidden[0, rows[0].subject].detach())
            for number, row in enumerate(rows):
                hidden[number, row.subject] = hidden[number, row.subject] + delta
            return hidden if isinstance(out, Tensor) else (hidden, *out[1:])

        search = torch.optim.Adam([delta], lr=LR)
        before: Tensor | None = None
        hook = block.register_forward_hook(shift)
        try:
            for _ in range(STEPS):
                search.zero_grad()
                logp = self.forward(rows).log_softmax(-1)
                essence = logp[-1, rows[-1].subject]
                before = essence.detach() if before is None else before
                wanted = torch.stack([self._answer(logp[i], row) for i, row in enumerate(rows[:-1])])
                drift = F.kl_div(essence, before, log_target=True, reduction="sum")
                size = delta.pow(2).sum() / seen[0].pow(2).sum()
                loss = -wanted.mean() + KL_WEIGHT * drift + DECAY * size
                if float(loss.detach()) < LOW_ENOUGH:
                    break
                torch.autograd.backward(loss)
                search.step()
                with torch.no_grad():
                    delta.mul_((CLAMP * seen[0].norm() / delta.norm()).clamp(max=1.0))
        finally:
            hook.remove()
        return seen[0] + delta.detach(), seen[0]

    @staticmethod
    def _answer(logp: Tensor, row: Any) -> Tensor:
        first = len(row.tokens) - row.targets
        wanted = torch.tensor(row.tokens[first:])
        return logp[first - 1 : len(row.tokens) - 1].gather(-1, wanted[:, None]).mean()

    @torch.no_grad()
    def keys(self, fact: Fact, layer: int) -> tuple[Tensor, Tensor]:
        """Return the mean key of a layer over the contexts, and what the last layer puts out after the bare prompt."""
        rows = [row_of(self.subject.tokenizer, fact.prompt, fact.subject, "", before) for before in CONTEXTS]
        keys: list[Tensor] = []
        out: list[Tensor] = []
        anatomy = self.subject.anatomy
        hooks = [
            anatomy.projections[layer].module.register_forward_pre_hook(lambda _, args: keys.append(args[0])),
            anatomy.blocks[self.layers[-1]].register_forward_hook(lambda _, __, got: out.append(first_of(got))),
        ]
        try:
            self.forward(rows)
        finally:
            for hook in hooks:
                hook.remove()
        mean = torch.stack([keys[0][i, row.subject] for i, row in enumerate(rows)]).mean(0)
        return mean, out[0][0, rows[0].subject]

    def edit(self, fact: Fact) -> None:
        """Write one fact (MEMIT, algorithm 1)."""
        value, _ = self.target(fact)
        for place, layer in enumerate(self.layers):
            key, now = self.keys(fact, layer)
            share = (value - now).double() / (len(self.layers) - place)
            column = key.double()[:, None]
            covariance = self.weight * self.moments.covariance(layer, self.shrinkage)
            update = share[:, None] @ torch.linalg.solve(covariance + column @ column.T, column).T
            self.subject.anatomy.projections[layer].add(update)


def one_at_a_time(plain: Plain, facts: Sequence[Fact]) -> tuple[Tally, float]:
    """Edit a fresh model for each fact; returns how the facts stand and the CPU-seconds."""
    tally, spent = Tally.empty(), 0.0
    projections = plain.subject.anatomy.projections
    for fact in facts:
        weights = {layer: projections[layer].weight.detach().clone() for layer in plain.layers}
        began = time.process_time()
        plain.edit(fact)
        spent += time.process_time() - began
        tally.take(ask(plain.subject, [fact]))
        put_back(plain.subject.anatomy, weights)
    return tally, spent
