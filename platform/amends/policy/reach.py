"""Ask a rule about many inputs: one that gives the same answer to all of them decides nothing."""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from amends.policy.engine import FACTS, PolicyEngine
from amends.policy.references import READING_FIELDS, SIDES, ReadingReference, References

MOST = 4000
"""How many inputs are tried at most; a rule with two answers has shown both long before."""

_NUMBER = re.compile(r"(?<![\w.\"'])\d+(?:\.\d+)?")
_TEXT = re.compile(r"""(["'])([^"'\n]*)\1""")
_USUAL = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 20.0, "power": 0.9}


def answers(expression: str, references: References, engine: PolicyEngine) -> set[bool]:
    """Return the answers that a sound expression gives: both of them, or the only one that any tried input got.

    Tried are both truths, counts and texts around those that the expression names, and readings on either side of each
    of its numbers.
    """
    program, found = engine.compile(expression), set()
    for inputs in _inputs(expression, references):
        found.add(engine.evaluate(program, inputs).passed)
        if len(found) == 2:
            break
    return found


def _inputs(expression: str, references: References) -> Iterator[dict[str, Any]]:
    numbers = sorted({float(found) for found in _NUMBER.findall(expression)})
    texts = sorted({found[1] for found in _TEXT.findall(expression)})
    choices: list[Sequence[Any]] = [_of_reading(read.field, numbers) for read in references.readings]
    choices += [_of_fact(FACTS[name], numbers, texts) for name in references.facts if name in FACTS]
    choices += [_approvals(texts)] if references.approvals else []
    for chosen in _combined(choices):
        yield _filled(references, chosen)


def _of_reading(field: str, numbers: Iterable[float]) -> list[float]:
    steps = (-1.0, -0.01, -1e-6, 0.0, 1e-6, 0.01, 1.0)
    found = {number + step for number in (*numbers, 0.0, 1.0) for step in steps} | {0.5, -1e6, 1e6}
    if field == "n":
        found = {float(math.floor(number)) for number in found if number >= 1} | {1.0, 2.0, 1e6}
    if field == "power":
        found = {number for number in found if 0 <= number <= 1}
    return sorted(found)


def _of_fact(kind: type, numbers: Iterable[float], texts: Iterable[str]) -> list[Any]:
    if kind is bool:
        return [False, True]
    if kind is str:
        return ["", "something-else", *texts]
    return sorted({0, 1, 2, 10**6} | {int(n) + step for n in numbers for step in (-1, 0, 1) if int(n) + step >= 0})


def _approvals(texts: Iterable[str]) -> list[list[dict[str, str]]]:
    """Return who may have approved: nobody, anybody alone, each two, all, and the requester."""
    people = [{"user": f"u{n}", "role": role, "requester": "r"} for n, role in enumerate(("someone", *texts, *texts))]
    alone, pairs = [[person] for person in people], [list(two) for two in itertools.combinations(people, 2)]
    return [[], *alone, *pairs, people, [{**person, "user": "r"} for person in people]]


def _combined(choices: list[Sequence[Any]]) -> Iterable[Sequence[Any]]:
    """Return every combination; where there are too many, as many as are to be tried, drawn the same each time."""
    if math.prod(map(len, choices)) <= MOST:
        return itertools.product(*choices)
    draw = random.Random(0)
    return ([draw.choice(some) for some in choices] for _ in range(MOST))


def _filled(references: References, chosen: Sequence[Any]) -> dict[str, Any]:
    values = iter(chosen)
    sides: dict[str, dict[str, dict[str, float]]] = {side: {} for side in SIDES}
    for read in references.readings:
        _reading(sides, read)[read.field] = next(values)
    facts: Mapping[str, Any] = {name: next(values) for name in references.facts if name in FACTS}
    return {**sides, "facts": facts, "approvals": next(values, [])}


def _reading(sides: dict[str, dict[str, dict[str, float]]], read: ReadingReference) -> dict[str, float]:
    return sides[read.side].setdefault(read.name, {field: _USUAL[field] for field in READING_FIELDS})
