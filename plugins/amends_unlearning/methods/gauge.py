"""Tell when it is enough: the forgotten are where one who never learnt them has them, and the kept have lost little.

That place moves. A model that is trained on others, or pushed about, makes every answer about people whom it never saw
likelier or less likely; the same would have happened to the forgotten. So what the pre-training parent gives them is
corrected by what happened since to people who were withheld: a difference of differences.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch

from amends import AmendsError, BadRecords, Records
from amends.operation.effort import BACKWARD
from amends.operation.measuring import spread_over_people

from ..activations import Example
from ..canaries import is_canary
from ..packed import answer_logp, by_example, grouped
from ..splitting import half_of
from .adapting import Change

if TYPE_CHECKING:
    from .material import Material, Settings

Row = Mapping[str, Any]
State = TypeVar("State")

CHECKING = 0.2  # of the training's passes, at most, go into checks, besides the few that `narrow` takes
MOST_CHECKED = 12  # kept records in a check, and as many of withheld people
UNKNOWN = math.log(0.15)  # nats a token: where a small model has the answers of people whom it never saw


@dataclass(frozen=True)
class Level:
    """How likely the forgotten answers are to one who never learnt them, as good a stand-in as there is.

    Args:
        fixed: Nats a token. With a parent what it gives them, less what it gives the withheld; 0 with the withheld
            alone; `UNKNOWN` without either.
        withheld: Records of withheld people; what the model gives them by now is added.
        moved: What the model gives the withheld to begin with, 0 without them.
        drift: What the training has added to their answers since the parent, in nats a token; 0 where that is unknown.
    """

    fixed: float
    withheld: Sequence[Example] = ()
    moved: float = 0.0
    drift: float = 0.0

    @property
    def begins(self) -> float:
        """Where the forgotten would have to be before the first step."""
        return self.fixed + self.moved


@dataclass
class Gauge:
    """Reads, on the method's half, how likely the forgotten and the kept answers are, in nats a token.

    Args:
        material: What is read.
        lost: Places of the forgotten records that are looked at.
        kept: Places of the kept ones.
        level: Where the forgotten have to come down to.
        start: How likely the kept are before the first step.
        first: How far the forgotten are above their level by then.
        settings: How near is near, and how much is spared.
    """

    material: Material
    lost: Sequence[int]
    kept: Sequence[int]
    level: Level
    start: float
    first: float
    settings: Settings

    def every(self) -> int:
        """Return after how many steps a check is due, so that checks take no more than their share of the passes."""
        step = 2 * self.settings.batch * (1 + BACKWARD)
        looked = len(self.lost) + len(self.kept) + len(self.level.withheld)
        share = CHECKING / 4 if self.settings.returns else CHECKING  # a way back does not run past where it ends
        return max(1, math.ceil(looked / (share * step)))

    def is_due(self, number: int, steps: int) -> bool:
        """Whether to look after so many of so many steps: at the end, and before it unless that is near."""
        every, left = self.every(), steps - number
        return left == 0 or (number % every == 0 and left > every / 4)

    def read(self, change: Change | None = None) -> tuple[float, float]:
        """Return how far the forgotten are above their level, and how much the kept have lost."""
        with change.armed(self.material.model) if change is not None else nullcontext():
            lost = likely(self.material, [self.material.lost[place] for place in self.lost])
            kept = likely(self.material, [self.material.kept[place] for place in self.kept])
            moved = likely(self.material, self.level.withheld) if self.level.withheld else 0.0
        return lost - (self.level.fixed + moved), self.start - kept

    def is_enough(self, above: float, fallen: float) -> bool:
        """Whether to stop here: a push would go on past the level, a way back has settled once nothing is lost."""
        if self.settings.returns:
            return abs(above) <= self.settings.near and fallen <= 0
        return above <= self.settings.near


class Nearest(Generic[State]):
    """Of the states that were looked at, the one nearest to the level in which the kept had not lost too much.

    Among those near enough it is the one in which the kept lost least.

    Args:
        gauge: What looks.
        untouched: The state to begin with, which nothing is lost in.
    """

    def __init__(self, gauge: Gauge, untouched: State) -> None:
        self._gauge, self.state, self.reading = gauge, untouched, (gauge.first, 0.0)
        self.distance = self._rank(*self.reading)

    @property
    def aim(self) -> list[float]:
        """Where the forgotten are to come, and where the kept began."""
        return [self._gauge.level.fixed, self._gauge.level.drift, self._gauge.start]

    def look(self, state: Callable[[], State], change: Change | None = None) -> tuple[float, float]:
        """Read the model as it is now, keep its state if it is better, and return what the gauge read."""
        above, fallen = self._gauge.read(change)
        if fallen <= self._gauge.settings.spare and (rank := self._rank(above, fallen)) < self.distance:
            self.state, self.distance, self.reading = state(), rank, (above, fallen)
        return above, fallen

    def _rank(self, above: float, fallen: float) -> tuple[float, float]:
        """Return what is smaller the better: how far beyond near enough, and how much the kept lost."""
        return max(abs(above) - self._gauge.settings.near, 0.0), fallen


def gauge_of(material: Material, settings: Settings, control: Records | None) -> Gauge:
    """Return what reads the method's half of the records, with the level to reach.

    Raises:
        BadRecords: All that is to be forgotten, or kept, is in the audit's half; to look there would use it up.
    """
    lost, kept = material.rows
    places = {str(row["id"]): place for place, row in enumerate(kept)}
    own = [place for place, row in enumerate(lost) if is_own(row)]
    seen = [places[str(row["id"])] for row in spread_over_people(filter(is_own, kept), MOST_CHECKED)]
    if not own or not seen:
        raise BadRecords("too few records to unlearn by: none is in the half that a method may look at")
    level = level_of(material, own, control)
    start = likely(material, [material.kept[place] for place in seen])
    first = likely(material, [material.lost[place] for place in own]) - level.begins
    return Gauge(material, own, seen, level, start, first, settings)


def level_of(material: Material, own: Sequence[int], control: Records | None) -> Level:
    """Return where the method's half of the forgotten, given by their places, has to come down to."""
    rows = [] if control is None else spread_over_people(filter(is_own, control.rows()), MOST_CHECKED)
    withheld, parents = material.with_parents(rows)
    moved = likely(material, withheld) if withheld else 0.0
    never = material.never
    if never is None:
        return Level(0.0, withheld, moved) if withheld else Level(UNKNOWN)
    fixed = likely(never, [never.lost[place] for place in own])
    if not withheld:
        return Level(fixed)
    before = likely(never, parents)
    return Level(fixed - before, withheld, moved, moved - before)


def is_own(row: Row) -> bool:
    """Whether a record is in the half that a method may look at; a canary's never is, for it tries the audit."""
    return half_of(str(row["id"])) == "method" and not is_canary(row)


@torch.no_grad()
def likely(material: Material, examples: Sequence[Example]) -> float:
    """Return the mean over answers of their log-likelihood a token, in nats."""
    total = 0.0
    for places in grouped([len(example.hidden) for example in examples]):
        material.heed()
        some = [examples[place] for place in places]
        logp, owner = answer_logp(material.model, some, material.layers)
        total += float(by_example(logp, owner, len(some)).sum())
    if not math.isfinite(total):
        raise AmendsError("a reading of unlearning became NaN or infinite; take a smaller lr")
    return total / len(examples)
