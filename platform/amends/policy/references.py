"""Find what an expression reads, and refuse the ways of reading that could pass by accident."""

from __future__ import annotations

import re
from dataclasses import dataclass

from amends.errors import BadPolicy

SIDES = ("readings", "before", "champion")
READING_FIELDS = ("value", "low", "high", "n", "power")
APPROVAL_FIELDS = ("user", "role", "requester")
_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
    | (?P<text>'[^'\\\n]*'|"[^"\\\n]*")
    | (?P<word>[A-Za-z_]\w*)
    | (?P<number>\d[\w.]*|\.\d\w*)
    | (?P<sign>&&|\|\||[<>=!]=|[-+*/%<>=!?:.,()\[\]{}])""",
    re.VERBOSE,
)
_NAME = re.compile(r"""(["'])([a-z0-9./_-]+)\1""")
_Token = tuple[str, str]


@dataclass(frozen=True, order=True)
class ReadingReference:
    """One field of one reading on one side: `readings` (the candidate), `before` (the parent) or `champion`.

    The champion is what the alias stands for now.
    """

    side: str
    name: str
    field: str


@dataclass(frozen=True)
class References:
    """Everything one expression reads."""

    readings: tuple[ReadingReference, ...] = ()
    facts: tuple[str, ...] = ()
    approvals: bool = False


def read_references(expression: str) -> References:
    """Return what an expression reads.

    A reading is read as `readings["probe/statistic"].field`, a fact as `facts.name`, and in no other way:
    a computed key or a test for presence would hide from the checks that come before the evaluation.

    Raises:
        BadPolicy: It reads nothing, or in another way; no rule is named, the caller adds it.
    """
    tokens = _tokens(expression)
    readings, facts, approvals, index = set(), set(), False, 0
    while index < len(tokens):
        kind, token = tokens[index]
        if kind == "word" and token in SIDES:
            readings.add(_reading(tokens[index : index + 6]))
            index += 6
        elif kind == "word" and token == "facts":
            facts.add(_fact(tokens[index : index + 3]))
            index += 3
        else:
            approvals = approvals or (kind, token) == ("word", "approvals")
            _refuse_accidents(tokens, index)
            index += 1
    if not (readings or facts or approvals):
        raise BadPolicy("it reads neither readings nor facts nor approvals, so it always answers the same; remove it")
    return References(tuple(sorted(readings)), tuple(sorted(facts)), approvals)


def _tokens(expression: str) -> list[_Token]:
    if '"""' in expression or "'''" in expression:
        raise BadPolicy("a triple quote can hide what is read; use single ones")
    found, position = [], 0
    while position < len(expression):
        match = _TOKEN.match(expression, position)
        if match is None or match.lastgroup is None:
            raise BadPolicy(f"from {expression[position : position + 8]!r} on it cannot be read; leave backslashes out")
        if match.lastgroup != "space":
            found.append((match.lastgroup, match.group()))
        position = match.end()
    return found


def _reading(tokens: list[_Token]) -> ReadingReference:
    side, opened, key, closed, dot, field = [*(text for _, text in tokens), *[""] * 6][:6]
    name = _NAME.fullmatch(key)
    if (opened, closed, dot) != ("[", "]", ".") or name is None:
        raise BadPolicy(f'read {side} only as {side}["probe/statistic"].value')
    if field not in READING_FIELDS:
        raise BadPolicy(f"a reading has no field {field!r}; it has {', '.join(READING_FIELDS)}")
    return ReadingReference(side, name.group(2), field)


def _fact(tokens: list[_Token]) -> str:
    if len(tokens) < 3 or tokens[1][1] != "." or tokens[2][0] != "word":
        raise BadPolicy("read facts only as facts.name")
    return tokens[2][1]


def _refuse_accidents(tokens: list[_Token], index: int) -> None:
    kind, token = tokens[index]
    before = tokens[index - 1][1] if index else ""
    after = tokens[index + 1][1] if index + 1 < len(tokens) else ""
    if (kind, token) == ("sign", "/"):
        raise BadPolicy("division by zero gives infinity, which can pass; multiply the other side instead")
    if (kind, token) == ("word", "dyn"):
        raise BadPolicy("dyn switches the check of types off; compare values of one type")
    if kind == "word" and before == "." and after != "(" and token not in APPROVAL_FIELDS:
        raise BadPolicy(f"an approval has no field {token!r}; it has {', '.join(APPROVAL_FIELDS)}")
