"""What the benchmark of unlearning says of a model: what it gives, and how far that is from the gold model."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from figures import Reading, read
from unlearning_runs import Answers, apart, membership, membership_apart

DELTA = 0.1  # the margin within which a difference from the gold model is none


def foreseen(method: str, seconds: float, spent: float) -> Reading:
    """Return a forecast beside what it took, met where neither is more than twice the other."""
    made = read(f"{method}: foreseen, of what it took", seconds, "CPU-s", baseline=spent)
    return Reading(**{**vars(made), "target": 2.0, "met": bool(spent / 2 <= seconds <= spent * 2)})


def described(name: str, found: tuple[Answers, Answers, Answers]) -> Iterable[Reading]:
    """Say what a model gives."""
    for whose, answers in zip(("forgotten", "kept"), found, strict=False):
        for statistic in ("probability", "strength"):
            yield read(f"{name}: {whose} {statistic}", answers.mean(statistic), statistic, len(answers.persons))
    yield read(f"{name}: membership AUC of the loss", membership(found[0], found[2]), "AUC", len(found[0].persons))


def compared(
    name: str, found: tuple[Answers, Answers, Answers], gold: tuple[Answers, Answers, Answers], aim: bool
) -> Iterable[Reading]:
    """Say how far a model is from the gold model."""
    for statistic in ("probability", "strength"):
        value, interval = apart(found[0], gold[0], statistic)
        yield bounded(f"{name}: forgotten {statistic}, less the gold model's", value, interval, found[0], aim)
    value, interval = membership_apart((found[0], found[2]), (gold[0], gold[2]))
    yield bounded(f"{name}: membership AUC, less the gold model's", value, interval, found[0], aim)
    yield read(
        f"{name}: kept strength, of the gold model's", found[1].mean("strength"), "share", len(found[1].persons),
        baseline=gold[1].mean("strength"), at_least=0.95 if aim else None,
    )  # fmt: skip


def withstood(name: str, found: dict[str, Answers], gold: dict[str, Answers], aim: bool) -> Iterable[Reading]:
    """Say how far an attacked model is from the gold model under the same attack."""
    for attack, answers in found.items():
        for statistic in ("probability", "strength"):
            value, interval = apart(answers, gold[attack], statistic)
            title = f"{name} after {attack}: {statistic}, less the gold model's"
            yield bounded(title, value, interval, answers, aim)


def bounded(name: str, value: float, interval: tuple[float, float] | None, found: Answers, aim: bool) -> Reading:
    """Return a difference, met where its whole interval lies within the margin."""
    people = len(set(found.persons))
    made = read(name, value, "difference", people, interval)
    if not aim:
        return made
    low, high = interval or (-np.inf, np.inf)
    return Reading(**{**vars(made), "target": DELTA, "met": bool(low >= -DELTA and high <= DELTA)})
