"""Edit the benchmark's facts with the methods' own code, and take the time.

What an operation does around a method is left out: loading the model, and the guard, which reads some paragraphs and
the neighbours before and after each batch and halves an update that moves them too far.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

from editing_records import Subject, Tally, ask
from torch import Tensor

from amends_editing import alphaedit, ft, memit, rls, rome, ultraedit
from amends_editing.covariance import Moments
from amends_editing.desk import Desk, Factors
from amends_editing.erasing import wish_to_erase
from amends_editing.facts import Fact, Verb
from amends_editing.guarding import put_back
from amends_editing.patching import Settings, empty, learn
from amends_editing.targets import Solver, Wish
from amends_editing.within import PER_FACT

FT: dict[str, Any] = {"steps": 25, "lr": 5e-4, "limit": 5e-3}  # the operation's own defaults
Write = Callable[[Desk, Sequence[Wish]], list[Factors]]


@dataclass(eq=False)
class Setting:
    """Layers, weights and the search, all chosen on counterfact-val.

    Args:
        subject: The model.
        moments: Second moments of the layers' keys.
        layers: Which are edited; ROME takes the last of them.
        weight: λ of MEMIT and RLS, for a fact or a few.
        per_fact: And at least so much for each fact.
        solver: How target vectors are searched.
    """

    subject: Subject
    moments: Moments
    layers: tuple[int, ...]
    weight: float = 15.0
    per_fact: float = PER_FACT
    solver: Solver = field(default_factory=Solver)
    shrinkage: float = 0.01

    @cached_property
    def _first(self) -> Desk:
        return self._desk()

    def _desk(self, held: int = 1) -> Desk:
        anatomy, tokenizer = self.subject.anatomy, self.subject.tokenizer
        return Desk(anatomy, tokenizer, self.layers, self.solver, self.moments, self.shrinkage, held=held)

    def desk(self, held: int = 1) -> Desk:
        """Return a desk for so many facts, without earlier edits; factorised covariances are shared, as in a case."""
        fresh = self._desk(held)
        fresh.covariances, fresh.lowers = self._first.covariances, self._first.lowers
        return fresh

    def weights(self) -> dict[int, Tensor]:
        """Return copies of the weights that are edited."""
        return {n: self.subject.anatomy.projections[n].weight.detach().clone() for n in self.layers}

    def memit(self, desk: Desk, wishes: Sequence[Wish]) -> list[Factors]:
        """Write with MEMIT."""
        return memit.edit(desk, wishes, desk.counterweight(self.weight, self.per_fact))


@dataclass
class Outcome:
    """What came of a run."""

    tally: Tally
    cpu_seconds: float = 0.0
    bytes_of_one: int = 0


def one_at_a_time(setting: Setting, facts: Sequence[Fact], write: Write) -> Outcome:
    """Edit a fresh model for each fact; the model gets its weights back, bit by bit."""
    outcome = Outcome(Tally.empty())
    for fact in facts:
        weights = setting.weights()
        began = time.process_time()
        made = write(setting.desk(), [Wish(fact)])
        outcome.cpu_seconds += time.process_time() - began
        outcome.bytes_of_one = max(outcome.bytes_of_one, size_of(made))
        outcome.tally.take(ask(setting.subject, [fact]))
        put_back(setting.subject.anatomy, weights)
    return outcome


def in_one_update(setting: Setting, facts: Sequence[Fact], write: Write) -> Outcome:
    """Edit all facts in one update; the model gets its weights back, bit by bit."""
    everywhere = range(len(setting.subject.anatomy.blocks))
    weights = {n: setting.subject.anatomy.projections[n].weight.detach().clone() for n in everywhere}
    began = time.process_time()
    made = write(setting.desk(len(facts)), [Wish(fact) for fact in facts])
    spent = time.process_time() - began
    tally = ask(setting.subject, facts)
    put_back(setting.subject.anatomy, weights)
    return Outcome(tally, spent, size_of(made))


def size_of(made: Sequence[Factors]) -> int:
    """Return how many bytes the factors take."""
    return sum(4 * (one.left.numel() + one.right.numel()) for one in made)


def methods(setting: Setting, threshold: float, ridge: float, rate: float, late: tuple[int, ...]) -> dict[str, Write]:
    """Return what writes a batch with each method of the family; null spaces are found once, as in a case."""
    alone = setting.layers[-1:]

    def with_rome(desk: Desk, wishes: Sequence[Wish]) -> list[Factors]:
        desk.layers = alone
        return rome.edit(desk, wishes)

    @cache
    def whole() -> dict[int, Tensor]:  # nothing shrunk: no direction would be one that running text hardly uses
        return {layer: setting.moments.covariance(layer, 0.0) for layer in setting.layers}

    @cache
    def bases() -> dict[int, Tensor]:
        desk = setting.desk()
        desk.covariances = whole()
        return alphaedit.bases(desk, threshold)

    def with_alphaedit(desk: Desk, wishes: Sequence[Wish]) -> list[Factors]:
        desk.covariances = whole()
        basis = {} if alphaedit.is_priced(desk, setting.per_fact) else bases()
        return alphaedit.edit(desk, wishes, basis, ridge, setting.per_fact)

    def with_rls(desk: Desk, wishes: Sequence[Wish]) -> list[Factors]:
        return rls.prepare(desk, desk.counterweight(setting.weight, setting.per_fact))(desk, wishes)

    def with_ultraedit(desk: Desk, wishes: Sequence[Wish]) -> list[Factors]:
        desk.layers = late
        return ultraedit.prepare(rate)(desk, wishes)

    def with_ft(desk: Desk, wishes: Sequence[Wish]) -> list[Factors]:
        return ft.edit(desk, wishes, **FT)

    return {
        "memit": setting.memit, "rome": with_rome, "alphaedit": with_alphaedit, "rls": with_rls,
        "ultraedit": with_ultraedit, "ft": with_ft,
    }  # fmt: skip


@contextmanager
def in_a_row(setting: Setting, write: Write, count: int) -> Iterator[Callable[[Sequence[Fact]], object]]:
    """Give what writes batch after batch at one desk for so many facts; the weights go back at the end."""
    weights, desk = setting.weights(), setting.desk(count)
    try:
        yield lambda facts: write(desk, [Wish(fact) for fact in facts])
    finally:
        put_back(setting.subject.anatomy, weights)


@contextmanager
def patching(subject: Subject) -> Iterator[Callable[[Sequence[Fact]], None]]:
    """Give what writes a batch as patches at the operation's defaults; they act until the context ends."""
    settings = Settings()
    patches = empty(subject.anatomy, settings)
    with ExitStack() as armed:

        def write(facts: Sequence[Fact]) -> None:
            armed.close()
            learn(subject.anatomy, subject.tokenizer, patches, facts, settings.solver)
            armed.enter_context(patches.armed(subject.anatomy))

        yield write


def patches_apart(subject: Subject, facts: Sequence[Fact]) -> Outcome:
    """Edit a fresh model for each fact, as a patch."""
    outcome = Outcome(Tally.empty())
    for fact in facts:
        with patching(subject) as write:
            began = time.process_time()
            write([fact])
            outcome.cpu_seconds += time.process_time() - began
            outcome.tally.take(ask(subject, [fact]))
    return outcome


def patches_at_once(subject: Subject, facts: Sequence[Fact]) -> Outcome:
    """Edit all facts as patches of one model."""
    with patching(subject) as write:
        began = time.process_time()
        write(facts)
        spent = time.process_time() - began
        return Outcome(ask(subject, facts), spent)


def erasures(setting: Setting, facts: Sequence[Fact]) -> list[Wish]:
    """Return wishes to erase what the model knows."""
    anatomy, tokenizer, contexts = setting.subject.anatomy, setting.subject.tokenizer, setting.desk().contexts
    gone = [Fact(f.id, Verb.ERASE, f.subject, f.prompt, "", f.old, f.rephrases, f.neighbours) for f in facts]
    return [wish_to_erase(anatomy, tokenizer, fact, contexts) for fact in gone]
