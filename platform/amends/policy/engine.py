"""Evaluate one expression: passed only if its answer is a true boolean, whatever else happens."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from amends.errors import BadPolicy
from amends.policy.references import SIDES

MAX_EXPRESSION = 1000
GIVEN: Mapping[str, type] = {"contradictions": int, "nothing_removed": bool}
"""The facts that whoever opens a change may state of it; the governor knows all others by itself."""

FACTS: Mapping[str, type] = {
    **GIVEN,
    "descends_from_erased": bool,
    "digests_equal": bool,
    "digests_verified": bool,
    "environment": str,
    "evidence_age_days": int,
    "evidence_allowed": bool,
    "first": bool,
    "guarantee": str,
    "incidents_asked": int,
    "incidents_relapsed": int,
    "licence": str,
    "licence_conflicts": int,
    "licences_known": bool,
    "objections": int,
    "plan_digest": str,
    "received_late": bool,
    "recomputed": bool,
    "requested": bool,
    "requester": str,
    "signature_verified": bool,
    "suppression_checked": bool,
    "suppression_hits": int,
}
"""Every fact a rule may read, with its type; a name outside this table is refused when the policy is loaded."""

_PLACE = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")


@dataclass(frozen=True)
class Outcome:
    """What an expression answered; `error` says why it has no answer, and then it never passed."""

    passed: bool
    error: str = ""


class PolicyEngine(Protocol):
    """A language for rules. A second one must refuse and fail exactly where this one does."""

    def compile(self, expression: str) -> Any:
        """Return a program, type-checked, whose answer is a boolean; else `BadPolicy` with line and column."""

    def evaluate(self, program: Any, inputs: Mapping[str, Any]) -> Outcome:
        """Evaluate a program on `readings`, `before`, `champion`, `facts` and `approvals`; never raises."""


class CelEngine:
    """CEL through cel-expr-python, with its ways of failing open closed.

    A runtime error comes back as a value that is true in Python, so only a value of type BOOL that `is True` passes.
    Readings are maps of doubles, approvals maps of texts, and every fact is a typed variable of its own:
    a misspelt fact, or a comparison of a double with an int, is refused at compile time.
    """

    @cached_property
    def _environment(self) -> Any:
        from cel_expr_python import cel

        kind = cel.Type
        reading = kind.Map(kind.STRING, kind.Map(kind.STRING, kind.DOUBLE))
        kinds = {bool: kind.BOOL, int: kind.INT, str: kind.STRING}
        facts = {f"facts.{name}": kinds[python] for name, python in FACTS.items()}
        approvals = kind.List(kind.Map(kind.STRING, kind.STRING))
        sides = dict.fromkeys(SIDES, reading)
        return cel.NewEnv(variables={**sides, "approvals": approvals, **facts})

    def compile(self, expression: str) -> Any:
        """Compile an expression and check its types.

        Raises:
            BadPolicy: It is too long, has a mistake, or its answer is no boolean; no rule is named, the caller adds it.
        """
        if len(expression) > MAX_EXPRESSION:
            raise BadPolicy(f"it is longer than {MAX_EXPRESSION} characters; write one rule for each clause")
        try:
            program = self._environment.compile(expression)
        except Exception as error:
            place = _PLACE.search(str(error))
            said = f"{place[1]}:{place[2]}: {place[3]}" if place else str(error).partition("\n")[0]
            raise BadPolicy(said.removesuffix(" [INVALID_ARGUMENT]")) from None
        if (answer := program.return_type().name()) != "BOOL":
            raise BadPolicy(f"it answers with a {answer}, not a BOOL; compare it with something")
        return program

    def evaluate(self, program: Any, inputs: Mapping[str, Any]) -> Outcome:
        """Evaluate a program; an error, or any value but true, does not pass."""
        facts = {f"facts.{name}": value for name, value in inputs["facts"].items()}
        data = {**{side: inputs.get(side, {}) for side in SIDES}, "approvals": inputs["approvals"]}
        try:
            answer = program.eval(data={**data, **facts})
            kind, value = answer.type().name(), answer.value()
        except Exception as error:
            return Outcome(False, str(error).partition("\n")[0][:200])
        if kind != "BOOL":
            return Outcome(False, f"{value}".partition("\n")[0][:200])
        return Outcome(value is True)
