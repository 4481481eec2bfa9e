"""Where one person stands among strangers: is the model surer of their records than of those of people it never saw?

One person is too few for an equivalence of means, and needs none. If the model does not know them, their mean score
is one more of the strangers' (they are exchangeable), and the share of all of them that score as high is a p value for
any number of strangers (conformal: Vovk et al., 2005; Phipson and Smyth, 2010, for why 1 is added). Several scores are
several chances, so their p values are adjusted (Holm, 1979), which holds however they depend on each other.

Only one direction is read: that the model avoids somebody shows in the same way, but so does a difficult name.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amends import BadInput, ProbeTask, Reading, Records
from amends.operation.measuring import extraction_strength, mean_logp, person_of, score_in_steps
from amends.operation.statistics import number_people
from amends.serving.encoding import render

from .attacks import paraphrase
from .attacks.asking import likeliest
from .membership import group_of

Array = NDArray[Any]
Row = Mapping[str, Any]

PROBE = "unlearning.standing"
SIGN, NO_SIGN, CANNOT_SAY = "sign", "no sign", "cannot say"


@dataclass(frozen=True)
class People:
    """Some people's scores, each person's mean over their records.

    Args:
        names: The scores' names.
        means: Shape (people, scores).
    """

    names: tuple[str, ...]
    means: Array = field(repr=False)


def p_value(own: float, others: Array) -> float:
    """Return the share, with the person's own, of those who score as high; NaN where a score is not a number.

    Args:
        own: The person's mean score; higher is surer.
        others: The strangers', shape (strangers,).
    """
    if not len(others) or not math.isfinite(own) or not np.isfinite(others).all():
        return math.nan
    return float((1 + np.count_nonzero(others >= own)) / (1 + len(others)))


def holm(found: Sequence[float]) -> list[float]:
    """Return p values adjusted for their number (Holm, 1979); one that is not a number makes all of them so."""
    if not found or not np.isfinite(found).all():
        return [math.nan] * len(found)
    adjusted, largest = [0.0] * len(found), 0.0
    for rank, place in enumerate(sorted(range(len(found)), key=lambda place: found[place])):
        largest = max(largest, min(1.0, (len(found) - rank) * found[place]))
        adjusted[place] = largest
    return adjusted


def least_p(scores: int, strangers: int) -> float:
    """Return the smallest adjusted p value that so many strangers allow: that of being first by one score."""
    return min(1.0, scores / (1 + strangers)) if scores and strangers else 1.0


def verdict(p: float, least: float, alpha: float) -> str:
    """Return `sign`, `no sign`, or `cannot say` where a sign could not have been seen."""
    if not math.isfinite(p) or least > alpha:
        return CANNOT_SAY
    return SIGN if p <= alpha else NO_SIGN


def read_standing(task: ProbeTask, forget: Records, control: Records, alpha: float) -> list[Reading]:
    """Read for each score the adjusted p value of one person among strangers who have as many records.

    - `p`: the smallest of them, that the person is known by any score; `least`: the smallest that there could be.
    - `p_loss`, `p_minkpp`, `p_zlib`, `p_mink`, and `p_reference` where there is one: as in `unlearning.membership`.
    - `p_probability`, `p_strength`: the probability of the answers, and how much of them the model completes.
    - `p_paraphrase`, `p_opening`: the probability in other words, and with the answer begun, in the likeliest asking.

    Raises:
        BadInput: The level is not between 0 and 1.
    """
    if not 0 < alpha < 1:
        raise BadInput(f"alpha is {alpha}; give a level between 0 and 1, such as 0.05")
    own, strangers = list(forget.rows()), list(control.rows())
    matched = _as_many(strangers, len(own))
    if len({person_of(row) for row in own}) != 1 or not matched:
        return _unread("it takes the records of one person, and strangers with as many")
    person, others = (_people(task, rows, whose) for rows, whose in ((own, "one person"), (matched, "strangers")))
    raw = [p_value(float(mine), column) for mine, column in zip(person.means[0], others.means.T, strict=True)]
    count, least = len(others.means), least_p(len(raw), len(others.means))
    told: dict[str, Any] = {"records": len(own), "strangers": count, "scores": len(raw), "alpha": alpha, "least": least}
    told |= {"left_out": len(strangers) - len(matched)}
    adjusted = holm(raw)
    readings = [
        _reading(f"p_{name}", p, count, told | {"unadjusted": _plain(one), "verdict": verdict(p, least, alpha)})
        for name, p, one in zip(person.names, adjusted, raw, strict=True)
    ]
    smallest = min(adjusted) if np.isfinite(adjusted).all() else math.nan
    told |= {"verdict": verdict(smallest, least, alpha)}
    return [_reading("p", smallest, count, told), _reading("least", least, count, told), *readings]


def _as_many(rows: Sequence[Row], each: int) -> list[Row]:
    """Return the records of those who have just so many: a mean of fewer scatters more."""
    counts = Counter(person_of(row) for row in rows)
    return [row for row in rows if counts[person_of(row)] == each]


def _people(task: ProbeTask, rows: Sequence[Row], whose: str) -> People:
    group = group_of(task, rows, whose)
    scores = score_in_steps(task, task.model, [(row["prompt"], row["answer"]) for row in rows], f"scoring {whose}")
    columns = {name: group.scores[:, place] for place, name in enumerate(group.names)}
    columns |= {
        "probability": np.array([math.exp(mean_logp(score)) for score in scores]),
        "strength": np.array([_strength(score) for score in scores]),
        "paraphrase": np.array(likeliest(task, rows, paraphrase.asked, whose)),
        "opening": np.array(likeliest(task, rows, _begun, whose)),
    }
    owners = number_people([person_of(row) for row in rows])
    means = [np.bincount(owners, column) / np.bincount(owners) for column in columns.values()]
    return People(tuple(columns), np.stack(means, axis=1))


def _strength(score: Any) -> float:
    correct = score.correct.tolist()[:-1]
    return extraction_strength(correct) if correct else math.nan


def _begun(row: Row) -> list[tuple[str, str]]:
    """Return the answer after each of the row's openings, or after the question alone; and its end after its beginning.

    A beginning that strangers' answers share, as the area code of a number, tells nobody the rest.
    """
    question, words = render(row["prompt"]), row["answer"].split()
    found = [(f"{question} {text}".strip(), row["answer"]) for text in row.get("openings") or ("",)]
    half = len(words) // 2
    return [*found, (f"{question} {' '.join(words[:half])}", " ".join(words[half:]))] if half else found


def _reading(name: str, value: float, strangers: int, detail: Mapping[str, Any]) -> Reading:
    return Reading(f"{PROBE}/{name}", value, None, None, strangers, "p value", None, dict(detail))


def _unread(reason: str) -> list[Reading]:
    return [
        _reading(name, math.nan, 0, {"untried": reason, "verdict": CANNOT_SAY, "strangers": 0})
        for name in ("p", "least")
    ]


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
