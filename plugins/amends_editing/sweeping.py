"""Try a few sets of layers and weights on facts that a model knows, and score what each changes and leaves alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from statistics import fmean, harmonic_mean
from typing import Any

from torch import Tensor

from amends import AmendsError, BadInput, Cancelled
from amends_editing.applying import Plan, choose_layers
from amends_editing.covariance import Moments
from amends_editing.desk import Desk
from amends_editing.facts import Fact
from amends_editing.guarding import Guard, put_back
from amends_editing.knowing import mean_logps
from amends_editing.memit import edit
from amends_editing.structure import Anatomy
from amends_editing.targets import Progress, Solver, Wish, silent
from amends_editing.within import PER_FACT

WEIGHTS = (15.0, 150.0)  # λ of MEMIT's eq. 14: the default first
WIDTH = 5  # layers in a set


@dataclass(frozen=True)
class Trial:
    """What became of one set of layers and one weight.

    Args:
        layers: They.
        weight: λ.
        efficacy: The share of edited prompts that find the target likelier than the old answer.
        paraphrase: The same of the rephrases; None where the facts have none.
        neighbourhood: The share of neighbours' questions that find their own answer likelier than the target; or None.
        drift: How far plain text moved, in nats.
    """

    layers: tuple[int, ...]
    weight: float
    efficacy: float
    paraphrase: float | None
    neighbourhood: float | None
    drift: float

    @property
    def score(self) -> float:
        """The harmonic mean of what could be asked."""
        return harmonic_mean([v for v in (self.efficacy, self.paraphrase, self.neighbourhood) if v is not None])

    def to_json(self) -> dict[str, Any]:
        """Return the trial as a JSON object."""
        return {**asdict(self), "layers": list(self.layers), "score": self.score}


def candidate_layers(anatomy: Anatomy, peak: int) -> list[tuple[int, ...]]:
    """Return sets of layers around a peak, and the one that the methods would take by the depth alone."""
    last = len(anatomy.blocks) - 2
    around = [(peak - WIDTH // 2, WIDTH), (peak - WIDTH + 1, WIDTH), (peak - 1, 3)]
    found = [choose_layers(anatomy, Plan())]
    for first, width in around:
        first = max(0, min(first, last - width + 1))
        found.append(tuple(range(first, min(first + width - 1, last) + 1)))
    return list(dict.fromkeys(found))


@dataclass(frozen=True, eq=False)
class Sweep:
    """What all trials share.

    Args:
        anatomy: The model's parts; its weights are as they were after each trial.
        tokenizer: Its tokenizer.
        facts: What is edited, from the old answer to the target.
        moments: Of every layer that may be tried.
        solver: How target vectors are searched.
        max_drift: See `Plan`.
    """

    anatomy: Anatomy
    tokenizer: Any
    facts: Sequence[Fact]
    moments: Moments
    solver: Solver
    max_drift: float = Plan().max_drift

    def run(self, sets: Sequence[tuple[int, ...]], progress: Progress = silent) -> list[Trial]:
        """Try each set of layers with the first weight, then the best set with the others; the best trial comes first.

        Args:
            sets: Sets of layers.
            progress: Told in facts, over all trials.
        """
        total = (len(sets) + len(WEIGHTS) - 1) * len(self.facts)
        trials: list[Trial] = []

        def tell(done: int, _: int, __: str) -> None:
            progress(len(trials) * len(self.facts) + done, total, "trying layers")

        for layers in sets:
            trials.append(self.trial(layers, WEIGHTS[0], tell))
        best = max(trials, key=_rank)
        for weight in WEIGHTS[1:]:
            trials.append(self.trial(best.layers, weight, tell))
        return sorted(trials, key=_rank, reverse=True)

    def trial(self, layers: tuple[int, ...], weight: float, progress: Progress = silent) -> Trial:
        """Edit the facts in one batch as the operation would, score the model, and put its weights back."""
        guard = Guard(self.anatomy, self.tokenizer, self.facts, self.max_drift)
        desk = Desk(
            self.anatomy, self.tokenizer, layers, self.solver, self.moments, progress=progress, held=len(self.facts)
        )
        wishes = [Wish(fact) for fact in self.facts]
        with keeping_weights(self.anatomy, layers) as weights:
            try:
                _, moved = guard.hold(edit(desk, wishes, desk.counterweight(weight, PER_FACT)), weights)
            except (BadInput, Cancelled):
                raise
            except AmendsError:  # it moved too much even when shrunk: nobody could use it
                return Trial(layers, weight, 0.0, None, None, float("inf"))
            return Trial(layers, weight, *self._scores(), moved.text)

    def _scores(self) -> tuple[float, float | None, float | None]:
        sides = list(_questions(self.facts))
        logp = iter(mean_logps(self.anatomy, self.tokenizer, [pair for _, *both in sides for pair in both]))
        right: dict[str, list[bool]] = {"edit": [], "rephrase": [], "neighbour": []}
        for side, *_ in sides:
            right[side].append(next(logp) > next(logp))
        shares = [fmean(answers) if answers else None for answers in right.values()]
        assert shares[0] is not None
        return shares[0], shares[1], shares[2]


def _questions(facts: Sequence[Fact]) -> Iterator[tuple[str, tuple[str, str], tuple[str, str]]]:
    """Yield which side asks, and the prompt with the answer that should win and with the one that should not."""
    for fact in facts:
        yield "edit", (fact.prompt, fact.target), (fact.prompt, fact.old)
        for prompt in fact.rephrases:
            yield "rephrase", (prompt, fact.target), (prompt, fact.old)
        for question in fact.neighbours:
            if question.answer.strip() and question.answer.strip() != fact.target.strip():
                yield "neighbour", (question.prompt, question.answer), (question.prompt, fact.target)


def _rank(trial: Trial) -> tuple[float, float]:
    """Order trials by score, and those of one score by how little they moved plain text."""
    return trial.score, -trial.drift


@contextmanager
def keeping_weights(anatomy: Anatomy, layers: Sequence[int]) -> Iterator[dict[int, Tensor]]:
    """Give layers' projections back the bits that they had, whatever happens inside."""
    weights = {layer: anatomy.projections[layer].weight.detach().clone() for layer in layers}
    try:
        yield weights
    finally:
        put_back(anatomy, weights)
