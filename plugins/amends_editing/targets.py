"""Find, for each fact, what the residual stream should carry at the subject's last token (ROME, eq. 4; MEMIT, eq. 14).

Many facts are solved at once, each with its own row of `delta`, its own step size history and its own end. A step
runs only the tails (see `tails`), after the bare prompt and one or a few of the contexts in turn rather than after all
of them; the keys are still a mean over all.

A fact to insert or modify wants its answer's tokens. A fact to erase wants no answer: it wants what the model gives for
comparable subjects that it does not know, their distribution and their level of the old answer (see `erasing`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from amends import AmendsError
from amends_editing.facts import Fact, row_of, rows_of
from amends_editing.structure import Anatomy
from amends_editing.tails import Leading, Row, Tails, prepare

ESSENCE = "{} is a"  # ROME's prompt of the subject's essence, which must not drift
BETAS = (0.8, 0.95)  # shorter memories than usual: a search is over after ten steps
ADAM = (0.9, 0.999)  # Adam's own, for its own step
Progress = Callable[[int, int, str], None]


def silent(done: int, total: int, message: str) -> None:
    """Report to nobody."""


@dataclass(frozen=True)
class Solver:
    """How target vectors are searched.

    Args:
        steps: At most so many.
        lr: The step, as a root mean square in units of the residual stream.
        stop: A fact is done when the geometric mean of its answer's probability, over the step's rows, passes this;
            for an erasure, when exp(-distance) from what it wants does.
        contexts_per_step: How many contexts besides the bare prompt are run in each step.
        kl_weight: Weight of the drift of the essence, KL(before || now) in nats.
        decay: Weight of the squared norm of delta against that of what it is added to.
        clamp: delta is never longer than this many times what it is added to.
        overshoot: How many times what was found is written: more of it holds in other words, too. An erasure's is 1.
        per_coordinate: Whether a step is Adam's own, with a second moment for each coordinate; for narrow models.
        at_once: How many facts share a step.
    """

    steps: int = 25
    lr: float = 1.0
    stop: float = 0.9
    contexts_per_step: int = 1
    kl_weight: float = 0.0625
    decay: float = 0.5
    clamp: float = 4.0
    overshoot: float = 1.5
    per_coordinate: bool = False
    at_once: int = 8


@dataclass
class Solved:
    """What was found.

    Args:
        values: What block `layer` should put out at the subject's last token of the bare prompt, (facts, width).
        residuals: The part of that which is new: values minus what it puts out now, (facts, width).
        leading: What leads up to there, for each group of facts, with the facts' indexes; rows are facts by contexts.
        steps: How many steps each fact took.
        likely: The answer's probability when each fact stopped; exp(-distance) of an erasure from what it wants.
        places: At which token of its bare prompt each fact's subject ends, counted from 0.
    """

    values: Tensor
    residuals: Tensor
    leading: list[tuple[list[int], Leading]] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    likely: list[float] = field(default_factory=list)
    places: list[int] = field(default_factory=list)

    def read(self, until: int) -> tuple[Tensor, Tensor, Tensor]:
        """Run what leads up to the subjects through the edited blocks as they are now.

        Keys are wanted after every context, and only of the block that is edited next; beyond it the bare prompts run
        alone.

        Args:
            until: The last edited layer.

        Returns:
            The keys of the first block that is not left behind, a mean over the contexts, columns in float64, shape
            (inner, facts); those of the bare prompts alone, likewise; and what block `until` puts out after the bare
            prompt, shape (facts, width).
        """
        found: list[tuple[list[int], Tensor]] = []
        out = torch.empty_like(self.values)
        for group, leading in self.leading:
            keys = leading.onward(leading.first)[0][leading.first]
            found.append((group, keys.view(len(group), -1, keys.shape[-1]).double().cpu()))
            bare = torch.arange(0, len(keys), len(keys) // len(group), device=keys.device)
            out[group] = leading.of(bare).onward(until)[1].cpu()
        mean = torch.empty(len(self.values), found[0][1].shape[-1], dtype=torch.float64)
        alone = torch.empty_like(mean)
        for group, each in found:
            mean[group], alone[group] = each.mean(1), each[:, 0]
        return mean.T, alone.T, out

    def advance(self) -> None:
        """Leave the first edited block behind, as it is now."""
        for _, leading in self.leading:
            leading.advance()


@dataclass(frozen=True, repr=False)
class Wish:
    """A fact, and for an erasure what it wants instead.

    Args:
        fact: What to write, or to erase.
        wanted: The distribution at the prompt's end after each context, shape (contexts, vocabulary).
        levels: The log-probability of each token of the old answer after each context, shape (contexts, old tokens).
        beside: Other facts about the same subject that the one target shall answer as well; none for an erasure.
    """

    fact: Fact
    wanted: Tensor | None = None
    levels: Tensor | None = None
    beside: tuple[Fact, ...] = ()

    @property
    def answer(self) -> str:
        """The answer whose tokens are looked at: the new one, or the old one of an erasure that knows it."""
        if self.wanted is None:
            return self.fact.target
        return "" if self.levels is None else self.fact.old


def solve(
    anatomy: Anatomy,
    tokenizer: Any,
    wishes: Sequence[Wish],
    layer: int,
    solver: Solver,
    contexts: Sequence[str],
    first: int | None = None,
    progress: Progress = silent,
) -> Solved:
    """Solve the target vector of every fact.

    Args:
        anatomy: The model's parts.
        tokenizer: Its tokenizer.
        wishes: The facts; an erasure with what it wants.
        layer: The (last) edited layer.
        solver: How to search.
        contexts: What may stand before the prompt; the first is empty.
        first: The first edited layer, where the keys of all edited layers will be wanted.
        progress: Told before each group of facts, and at the end.
    """
    count = len(wishes)
    rows = [_rows_of(tokenizer, wish, contexts) for wish in wishes]
    order = sorted(range(count), key=lambda i: (_kind(wishes[i]), rows[i][0].tail, rows[i][0].subject, i))
    empty = torch.empty(count, anatomy.width)
    solved = Solved(empty, empty.clone(), [], [0] * count, [0.0] * count, [some[0].subject for some in rows])
    start = 0
    while start < count:
        progress(start, count, "solving target vectors")
        group = [
            i for i in order[start : start + solver.at_once]
            if _kind(wishes[i]) == _kind(wishes[order[start]])
        ]  # fmt: skip
        one = _Group(anatomy, tokenizer, [wishes[i] for i in group], [rows[i] for i in group], layer, solver, first)
        one.search()
        found = one.shortened(one.delta * (solver.overshoot if one.wanted is None else 1.0))
        for place, i in enumerate(group):
            solved.residuals[i], solved.values[i] = found[place].cpu(), (one.here[place] + found[place]).cpu()
            solved.steps[i], solved.likely[i] = one.taken[place], one.likely[place]
        if one.tails.leading is not None:
            solved.leading.append((group, one.tails.leading))
        start += len(group)
    progress(count, count, "solving target vectors")
    return solved


def _rows_of(tokenizer: Any, wish: Wish, contexts: Sequence[str]) -> list[Row]:
    """Return a wish's fact after each context, then the other facts that its target shall answer as well."""
    others = [row_of(tokenizer, fact.prompt, fact.subject, fact.target) for fact in wish.beside]
    return [*rows_of(tokenizer, wish.fact, wish.answer, contexts), *others]


def _kind(wish: Wish) -> tuple[bool, bool, int]:
    """Say what a wish's loss is made of; facts of one group are of one kind."""
    return wish.wanted is None, wish.levels is None, len(wish.beside)


class _Group:
    """A few facts of about one length and one kind, solved together."""

    def __init__(
        self,
        anatomy: Anatomy,
        tokenizer: Any,
        wishes: Sequence[Wish],
        rows: Sequence[Sequence[Any]],
        layer: int,
        solver: Solver,
        first: int | None,
    ) -> None:
        self.anatomy, self.solver = anatomy, solver
        self.rows = len(rows[0])  # of each fact: in its contexts, and the other facts of its target
        self.contexts = self.rows - len(wishes[0].beside)
        answers = [row for some in rows for row in some]
        essences = [row_of(tokenizer, ESSENCE.format(wish.fact.subject), wish.fact.subject) for wish in wishes]
        self.answers = len(answers)  # the first rows; those of the essences follow, in the same pass
        self.tails: Tails = prepare(anatomy, [*answers, *essences], layer, first, leading=self.answers)
        wanted = [wish.wanted for wish in wishes if wish.wanted is not None]
        self.wanted = torch.cat(wanted).to(anatomy.device) if wanted else None
        levels = [row for wish in wishes if wish.levels is not None for row in wish.levels]
        self.levels = pad_sequence(levels, batch_first=True).to(anatomy.device) if levels else None
        self.here = self.tails.hidden[: self.answers : self.rows, 0]
        self.delta = torch.zeros_like(self.here)
        self.first, self.second = torch.zeros_like(self.here), torch.zeros_like(self.here)
        self.taken, self.likely = [0] * len(wishes), [0.0] * len(wishes)
        self.before: Tensor | None = None  # an erased subject's essence is to drift
        if self.wanted is None:
            with torch.no_grad():
                some = torch.arange(self.answers, self.answers + len(wishes), device=anatomy.device)
                out = self.tails.run(self.tails.hidden[some], some)
                self.before = anatomy.logits(self._ends(out, some)).log_softmax(-1)

    def search(self) -> None:
        """Step until every fact is done, or there are no steps left.

        Raises:
            AmendsError: A probability or a gradient is not finite.
        """
        alive = torch.arange(len(self.taken), device=self.anatomy.device)
        for step in range(self.solver.steps + 1):
            delta = self.delta[alive].clone().requires_grad_(True)
            loss, likely = self._loss(delta, alive, step)
            _check(likely)
            for place, probability in zip(alive.tolist(), likely.tolist(), strict=True):
                self.taken[place], self.likely[place] = step, probability
            going = likely < self.solver.stop
            if step == self.solver.steps or not going.any():
                return
            (gradient,) = torch.autograd.grad(loss, delta)
            _check(gradient)
            alive, gradient = alive[going], gradient[going]
            self._move(alive, gradient, step + 1)

    def _move(self, alive: Tensor, gradient: Tensor, step: int) -> None:
        """Take one step of Adam (Kingma and Ba, 2015), then shorten what became too long.

        The second moment is one number for each fact, not one for each coordinate: the step keeps the gradient's
        direction, where Adam's would go as far along coordinates that matter little. `per_coordinate` takes Adam's.
        """
        one, two = ADAM if self.solver.per_coordinate else BETAS
        squared = gradient.pow(2) if self.solver.per_coordinate else gradient.pow(2).mean(-1, keepdim=True)
        self.first[alive] = one * self.first[alive] + (1 - one) * gradient
        self.second[alive] = two * self.second[alive] + (1 - two) * squared
        mean, variance = self.first[alive] / (1 - one**step), self.second[alive] / (1 - two**step)
        self.delta[alive] -= self.solver.lr * mean / (variance.sqrt() + 1e-8)
        self.delta = self.shortened(self.delta)

    def shortened(self, delta: Tensor) -> Tensor:
        """Return delta, no fact's longer than the clamp allows."""
        longest = self.solver.clamp * self.here.norm(dim=-1, keepdim=True)
        shorter: Tensor = delta * (longest / delta.norm(dim=-1, keepdim=True).clamp(min=1e-12)).clamp(max=1.0)
        return shorter

    def _rows(self, alive: Tensor, step: int) -> Tensor:
        """Return which rows run: of each living fact the bare prompt, some contexts in turn, and its other facts."""
        others = self.contexts - 1
        some = min(self.solver.contexts_per_step, others)
        turns = [1 + (step * some + turn) % others for turn in range(some)]
        chosen = [0, *turns, *range(self.contexts, self.rows)]
        return (alive[:, None] * self.rows + torch.tensor(chosen, device=alive.device)).flatten()

    def _loss(self, delta: Tensor, alive: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Return the sum of the facts' losses, and how likely each fact's wish is now."""
        rows = self._rows(alive, step)
        each = len(rows) // len(alive)
        moved, size = delta.repeat_interleave(each, 0), delta.pow(2).sum(-1) / self.here[alive].pow(2).sum(-1)
        if self.before is None:
            out = self.tails.run(_moved(self.tails.hidden[rows], moved), rows)
            loss, reached = self.solver.decay * size, -self._distance(out, rows)
        else:
            drift, reached = self._answers(rows, torch.cat([moved, delta]), alive, self.before)
            loss = self.solver.kl_weight * drift + self.solver.decay * size
        by_fact = reached.view(len(alive), each).mean(1)
        return (loss - by_fact).sum(), by_fact.detach().exp()

    def _answers(self, rows: Tensor, moved: Tensor, alive: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """Return how far each essence drifted, and the mean log-probability of each row's answer, both in nats.

        One pass and one head serve both: with few rows, reading the weights is what takes the time.
        """
        everything = torch.cat([rows, self.answers + alive])
        out = self.tails.run(_moved(self.tails.hidden[everything], moved), everything)
        places = self.tails.targets[rows] >= 0
        ends = self._ends(out[len(rows) :], everything[len(rows) :])
        logp = self.anatomy.logits(torch.cat([out[: len(rows)][places], ends])).log_softmax(-1)
        now, answers = logp[-len(alive) :], logp[: -len(alive)]
        drift = F.kl_div(now, before[alive], log_target=True, reduction="none").sum(-1)
        picked = answers.gather(-1, self.tails.targets[rows][places][:, None]).squeeze(-1)
        total = picked.new_zeros(len(rows)).index_add(0, places.nonzero()[:, 0], picked)
        return drift, total / places.sum(1)

    def _ends(self, out: Tensor, rows: Tensor) -> Tensor:
        """Return what comes out at the last place of each row."""
        return out[torch.arange(len(rows)), self.tails.last[rows]]

    def _distance(self, out: Tensor, rows: Tensor) -> Tensor:
        """Return KL(wanted || now) at each prompt's end, and how far off the old answer's level is, shape (rows,)."""
        assert self.wanted is not None
        now = self.anatomy.logits(out[torch.arange(len(rows)), self.tails.ends[rows]]).log_softmax(-1)
        wanted = self.wanted[rows]
        distance = (wanted * (wanted.clamp(min=1e-12).log() - now)).sum(-1)
        return distance if self.levels is None else distance + self._level_gap(out, rows)

    def _level_gap(self, out: Tensor, rows: Tensor) -> Tensor:
        """Return the mean squared difference of the old answer's log-probabilities from their levels, shape (rows,)."""
        assert self.levels is not None
        targets = self.tails.targets[rows]
        places = targets >= 0
        logp = self.anatomy.logits(out[places]).log_softmax(-1)
        picked = logp.gather(-1, targets[places][:, None]).squeeze(-1)
        owner = places.nonzero()[:, 0]
        number = places.cumsum(1)[places] - 1
        gap = (picked - self.levels[rows][owner, number]).pow(2)
        return gap.new_zeros(len(rows)).index_add(0, owner, gap) / places.sum(1)


def _check(found: Tensor) -> None:
    if not found.isfinite().all():
        raise AmendsError("a target vector became NaN or infinite; take a smaller lr, or other layers")


def _moved(hidden: Tensor, delta: Tensor) -> Tensor:
    """Return tails with delta added at the subject's last token."""
    return torch.cat([(hidden[:, 0] + delta)[:, None], hidden[:, 1:]], dim=1)
