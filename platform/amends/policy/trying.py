"""Try a policy on a table of cases: what it must say of each, and whether it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from amends.errors import BadInput, BadPolicy
from amends.policy.engine import FACTS, CelEngine, PolicyEngine
from amends.policy.fields import Fields, read_yaml
from amends.policy.judging import judge
from amends.policy.rules import Policy
from amends.records import Reading, Verdict

SIDES = ("readings", "before", "champion")
NUMBERS = ("value", "low", "high", "n", "power")
EXPECTED = ("allow", "deny")


@dataclass(frozen=True)
class Trial:
    """One case of a table: what was expected, what the policy said, and by which rules.

    Args:
        name: The case's name.
        expected: `allow` or `deny`.
        denied_by: The rules that must deny, and no others; None where the table does not say.
        verdict: What the policy said.
    """

    name: str
    expected: str
    denied_by: frozenset[str] | None
    verdict: Verdict

    @property
    def answer(self) -> str:
        """What the policy said: `allow` or `deny`."""
        return "allow" if self.verdict.allowed else "deny"

    @property
    def denying(self) -> frozenset[str]:
        """The rules that denied; `reviewers` where one objected."""
        rules = {a.rule for a in self.verdict.answers if not a.passed and a.severity == "deny"}
        return frozenset(rules | ({"reviewers"} if self.verdict.objections else set()))

    @property
    def is_as_expected(self) -> bool:
        """Whether verdict and rules are what the table says."""
        return self.answer == self.expected and (self.denied_by is None or self.denied_by == self.denying)


def try_policy(policy: Policy, text: str, file: str = "cases", engine: PolicyEngine | None = None) -> list[Trial]:
    """Judge every case of a table.

    A table has `cases`, each with a `name`, what to `expect`, and `readings`, `before`, `champion`, `facts`,
    `approvals` and `objections`; what stands under `given` holds for every case that does not say otherwise.

    Args:
        policy: What judges.
        text: The table, in YAML.
        file: Its name, for sentences.
        engine: The language of the rules; CEL unless told.

    Raises:
        BadInput: The table has a mistake; the sentence names the case.
    """
    engine = engine or CelEngine()
    try:
        fields = read_yaml(text, file)
        given, listed = fields.mapping("given"), fields.items("cases")
        fields.finish()
        if not listed:
            raise BadInput(f"{file} lists no cases; write one under `cases`")
        trials = [_trial(policy, f"{file}, case {n}", given, value, engine) for n, value in enumerate(listed, 1)]
    except BadPolicy as error:
        raise BadInput(str(error)) from None
    names = [trial.name for trial in trials]
    if twice := [name for name in names if names.count(name) > 1]:
        raise BadInput(f"{file} has two cases {twice[0]!r}; give each its own name")
    return trials


def _trial(policy: Policy, where: str, given: Mapping[str, Any], value: object, engine: PolicyEngine) -> Trial:
    fields = Fields(where, value)
    name, expected = fields.text("name"), fields.text("expect")
    if expected not in EXPECTED:
        raise BadInput(f"{where}: expect must be {' or '.join(EXPECTED)}, not {expected!r}")
    denied_by = frozenset(fields.texts("denied_by")) if isinstance(value, dict) and "denied_by" in value else None
    known = {rule.id for rule in policy.rules}
    unknown = sorted(each for each in denied_by or () if each not in known and ":" not in each and each != "reviewers")
    if unknown:
        raise BadInput(f"{where}: the policy has no rule {unknown[0]!r}; it has {', '.join(sorted(known))}")
    beside = Fields(f"{where}, given", dict(given))
    sides = {side: _readings(where, {**beside.mapping(side), **fields.mapping(side)}) for side in SIDES}
    facts = _facts(where, {**beside.mapping("facts"), **fields.mapping("facts")})
    approvals, objections = _list(fields, beside, value, "approvals"), _list(fields, beside, value, "objections")
    beside.finish()
    fields.finish()
    people = [_approval(where, one) for one in approvals]
    said = [str(sentence) for sentence in objections]
    verdict = judge(
        policy, sides["before"], sides["readings"], facts, people, said, champion=sides["champion"], engine=engine
    )
    return Trial(name, expected, denied_by, verdict)


def _list(fields: Fields, beside: Fields, value: object, key: str) -> list[Any]:
    """Return a case's own list, or the one that is given for all."""
    otherwise, own = beside.items(key), fields.items(key)
    return own if isinstance(value, dict) and key in value else otherwise


def _readings(where: str, given: Mapping[str, Any]) -> list[Reading]:
    found = []
    for name, value in given.items():
        numbers = value if isinstance(value, dict) else {"value": value}
        wrong = [key for key in numbers if key not in NUMBERS or not _is_number(numbers[key])]
        if wrong or "value" not in numbers:
            raise BadInput(f"{where}: {name!r} must be a number, or {', '.join(NUMBERS)} with at least a value")
        if type(numbers.get("n", 1)) is not int:
            raise BadInput(f"{where}: {name!r}: n must be a whole number")
        plain: dict[str, Any] = {key: int(number) if key == "n" else float(number) for key, number in numbers.items()}
        found.append(Reading(name, **plain))
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _facts(where: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts as they are given; a null takes away what holds for the other cases."""
    for name, value in given.items():
        if name not in FACTS:
            raise BadInput(f"{where}: there is no fact {name!r}; there are {', '.join(FACTS)}")
        if value is not None and type(value) is not FACTS[name]:
            raise BadInput(f"{where}: the fact {name!r} must be of type {FACTS[name].__name__}")
    return {name: value for name, value in given.items() if value is not None}


def _approval(where: str, value: object) -> dict[str, str]:
    fields = Fields(f"{where}, approval", value)
    found = {"user": fields.text("user"), "role": fields.text("role")}
    found["requester"] = fields.text("requester", "requester")
    fields.finish()
    return found
