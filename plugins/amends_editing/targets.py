"""Find, for each fact, what the residual stream should carry at the subject's last token (ROME, eq. 4; MEMIT, eq. 14).

Many facts are solved at once, each with its own row of `delta`, its own step size history and its own end. A step
runs only the tails (see `tails`), after the bare prompt and a few of the contexts in turn rather than after all of
them: over the steps each fact still sees them all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from amends import AmendsError
from amends_editing.facts import Fact, row_of, rows_of
from amends_editing.structure import Anatomy
from amends_editing.tails import Tails, prepare

ESSENCE = "{} is a"  # ROME's prompt of the subject's essence, which must not drift
BETAS = (0.9, 0.999)


@dataclass(frozen=True)
class Solver:
    """How target vectors are searched.

    Args:
        steps: At most so many.
        lr: Adam's step, in units of the residual stream.
        stop: A fact is done when the geometric mean of its answer's probability, over the step's rows, passes this.
        contexts_per_step: How many contexts besides the bare prompt are run in each step.
        kl_weight: Weight of the drift of the essence, KL(before || now) in nats.
        decay: Weight of the squared norm of delta against that of what it is added to.
        clamp: delta is never longer than this many times what it is added to.
        at_once: How many facts share a step.
    """

    steps: int = 25
    lr: float = 0.5
    stop: float = 0.95
    contexts_per_step: int = 2
    kl_weight: float = 0.0625
    decay: float = 0.5
    clamp: float = 4.0
    at_once: int = 8


@dataclass
class Solved:
    """What was found.

    Args:
        values: What block `layer` should put out at the subject's last token of the bare prompt, (facts, width).
        residuals: The part of that which is new: values minus what it puts out now, (facts, width).
        keys: What goes into each layer's projection there, a mean over the contexts, by layer, (facts, inner).
        steps: How many steps each fact took.
        likely: The answer's probability when each fact stopped.
    """

    values: Tensor
    residuals: Tensor
    keys: dict[int, Tensor] = field(default_factory=dict)
    steps: list[int] = field(default_factory=list)
    likely: list[float] = field(default_factory=list)


def solve(
    anatomy: Anatomy,
    tokenizer: Any,
    facts: Sequence[Fact],
    layer: int,
    solver: Solver,
    contexts: Sequence[str],
    inner: Sequence[int] = (),
    progress: Callable[[int, int, str], None] = lambda done, total, message: None,
) -> Solved:
    """Solve the target vector of every fact.

    Args:
        anatomy: The model's parts.
        tokenizer: Its tokenizer.
        facts: With non-empty targets.
        layer: The (last) edited layer.
        solver: How to search.
        contexts: What may stand before the prompt; the first is empty.
        inner: Layers whose keys are wanted.
        progress: Told after each group of facts.
    """
    rows = [rows_of(tokenizer, fact, fact.target, contexts) for fact in facts]
    order = sorted(range(len(facts)), key=lambda i: (rows[i][0].tail, rows[i][0].subject, i))
    values, residuals = torch.empty(len(facts), anatomy.width), torch.empty(len(facts), anatomy.width)
    keys = {number: torch.empty(len(facts), anatomy.projections[number].weight.shape[1]) for number in inner}
    steps, likely = [0] * len(facts), [0.0] * len(facts)
    for start in range(0, len(order), solver.at_once):
        progress(start, len(order), "solving target vectors")
        group = order[start : start + solver.at_once]
        one = _Group(anatomy, tokenizer, [facts[i] for i in group], [rows[i] for i in group], layer, solver, inner)
        one.search()
        for place, i in enumerate(group):
            residuals[i], values[i] = one.delta[place].cpu(), (one.here + one.delta)[place].cpu()
            steps[i], likely[i] = one.taken[place], one.likely[place]
            for number in inner:
                keys[number][i] = one.keys[number][place].cpu()
    progress(len(order), len(order), "solving target vectors")
    return Solved(values, residuals, keys, steps, likely)


class _Group:
    """A few facts of about one length, solved together."""

    def __init__(
        self,
        anatomy: Anatomy,
        tokenizer: Any,
        facts: Sequence[Fact],
        rows: Sequence[Sequence[Any]],
        layer: int,
        solver: Solver,
        inner: Sequence[int],
    ) -> None:
        self.anatomy, self.solver, self.layer = anatomy, solver, layer
        self.contexts = len(rows[0])
        flat = [row for some in rows for row in some]
        self.tails: Tails = prepare(anatomy, flat, layer, inner)
        self.essence = prepare(anatomy, [row_of(tokenizer, ESSENCE.format(f.subject), f.subject) for f in facts], layer)
        with torch.no_grad():
            self.before = self._essence_logits(self.essence.hidden, torch.arange(len(facts))).log_softmax(-1)
        mean = {n: found.view(len(facts), self.contexts, -1).mean(1) for n, found in self.tails.inner.items()}
        self.keys = mean
        self.here = self.tails.hidden.view(len(facts), self.contexts, *self.tails.hidden.shape[1:])[:, 0, 0]
        self.delta = torch.zeros_like(self.here)
        self.first, self.second = torch.zeros_like(self.here), torch.zeros_like(self.here)
        self.taken, self.likely = [0] * len(facts), [0.0] * len(facts)

    def search(self) -> None:
        """Step until every fact is done, or there are no steps left."""
        alive = torch.arange(len(self.taken))
        for step in range(self.solver.steps + 1):
            delta = self.delta[alive].clone().requires_grad_(True)
            loss, likely = self._loss(delta, alive, step)
            for place, probability in zip(alive.tolist(), likely.tolist(), strict=True):
                self.taken[place], self.likely[place] = step, probability
            going = likely < self.solver.stop
            if step == self.solver.steps or not going.any():
                return
            (gradient,) = torch.autograd.grad(loss, delta)
            if not gradient.isfinite().all():
                raise AmendsError(
                    "a target vector became NaN or infinite; take a smaller lr, and see `amends edit trace`"
                )
            alive, gradient = alive[going], gradient[going]
            self._move(alive, gradient, step + 1)

    def _move(self, alive: Tensor, gradient: Tensor, step: int) -> None:
        """Take one step of Adam (Kingma and Ba, 2015), then shorten what became too long."""
        one, two = BETAS
        self.first[alive] = one * self.first[alive] + (1 - one) * gradient
        self.second[alive] = two * self.second[alive] + (1 - two) * gradient**2
        mean, variance = self.first[alive] / (1 - one**step), self.second[alive] / (1 - two**step)
        moved = self.delta[alive] - self.solver.lr * mean / (variance.sqrt() + 1e-8)
        longest = self.solver.clamp * self.here[alive].norm(dim=-1, keepdim=True)
        self.delta[alive] = moved * (longest / moved.norm(dim=-1, keepdim=True)).clamp(max=1.0)

    def _rows(self, alive: Tensor, step: int) -> Tensor:
        """Return which rows run: of each living fact the bare prompt, and some contexts in turn."""
        others = self.contexts - 1
        some = min(self.solver.contexts_per_step, others)
        chosen = [0, *(1 + (step * some + turn) % others for turn in range(some))]
        return (alive[:, None] * self.contexts + torch.tensor(chosen)).flatten()

    def _loss(self, delta: Tensor, alive: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Return the sum of the facts' losses and each answer's probability now."""
        rows = self._rows(alive, step)
        each = len(rows) // len(alive)
        hidden = self._with(self.tails.hidden[rows], delta.repeat_interleave(each, 0))
        out = self.tails.run(hidden, rows)
        wanted = self.tails.targets[rows]
        places = wanted >= 0
        logp = self.anatomy.logits(out[places]).log_softmax(-1)
        picked = logp.gather(-1, wanted[places][:, None]).squeeze(-1)
        owner = places.nonzero()[:, 0]
        counts = torch.zeros(len(rows)).index_add(0, owner, torch.ones(len(owner)))
        mean = torch.zeros(len(rows)).index_add(0, owner, picked) / counts
        by_fact = mean.view(len(alive), each)
        now = self._essence_logits(self._with(self.essence.hidden[alive], delta), alive).log_softmax(-1)
        drift = F.kl_div(now, self.before[alive], log_target=True, reduction="none").sum(-1)
        size = delta.pow(2).sum(-1) / self.here[alive].pow(2).sum(-1)
        loss = -by_fact.mean(1) + self.solver.kl_weight * drift + self.solver.decay * size
        return loss.sum(), by_fact.detach().mean(1).exp()

    def _with(self, hidden: Tensor, delta: Tensor) -> Tensor:
        """Return the tails with delta added at the subject's last token."""
        return torch.cat([(hidden[:, 0] + delta)[:, None], hidden[:, 1:]], dim=1)

    def _essence_logits(self, hidden: Tensor, rows: Tensor) -> Tensor:
        out = self.essence.run(hidden, rows)
        return self.anatomy.logits(out[torch.arange(len(rows)), self.essence.last[rows]])
