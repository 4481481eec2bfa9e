"""What a rule can see, and why it sometimes cannot be trusted to answer."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from amends.policy.engine import FACTS
from amends.policy.evidence import numbers_from_json
from amends.policy.references import SIDES, ReadingReference
from amends.policy.rules import Minimum, Policy, Quorum, Rule
from amends.records import Guarantee

MAX_APPROVALS = 100


@dataclass(frozen=True)
class Problem:
    """Why a rule cannot rely on what it reads; `absent` where nothing could be answered at all."""

    reason: str
    absent: bool = True


@dataclass
class Sight:
    """Recorded inputs as the rules of one policy see them."""

    policy: Policy
    inputs: Mapping[str, Any]

    @cached_property
    def facts(self) -> dict[str, Any]:
        """The facts that were recorded, each of its own type."""
        given = self.inputs["facts"]
        return {name: given[name] for name, kind in FACTS.items() if type(given.get(name)) is kind}

    @cached_property
    def sides(self) -> dict[str, dict[str, list[dict[str, float]]]]:
        """Every reading by side and name; a list, because one that was read twice cannot be trusted."""
        sides: dict[str, dict[str, list[dict[str, float]]]] = {side: {} for side in SIDES}
        for side, key in (("readings", "after"), ("before", "before"), ("champion", "champion")):
            for reading in self.inputs.get(key, ()) if side == "champion" else self.inputs[key]:
                sides[side].setdefault(str(reading["name"]), []).append(numbers_from_json(reading))
        return sides

    @cached_property
    def visible(self) -> dict[str, Any]:
        """What a program sees; `problems` keeps every rule away that reads what was read twice."""
        sides = {side: {name: numbers[0] for name, numbers in found.items()} for side, found in self.sides.items()}
        return {**sides, "facts": self.facts, "approvals": list(self.inputs["approvals"])}

    def given_to(self, rule: Rule) -> dict[str, Any]:
        """What a rule's program is given: what its expression names, for every number is converted at every call."""
        read = rule.references
        sides = {side: {r.name: self.visible[side][r.name] for r in read.readings if r.side == side} for side in SIDES}
        approvals = self.visible["approvals"] if read.approvals else []
        return {**sides, "facts": {name: self.facts[name] for name in read.facts}, "approvals": approvals}

    @property
    def quorum(self) -> Quorum:
        """Who must approve: where the policy knows environments, what the alias that moves needs."""
        if not self.policy.environments:
            return self.policy.approvals
        return self.policy.quorum_of(self.facts["environment"], self.facts.get("first") is True)

    def passes_over(self, rule: Rule) -> str:
        """Return why a rule is not asked, or nothing where it is.

        A rule for some guarantees is passed over only where the guarantee is known to be another, and a rule about the
        champion only where it is known that the alias has never stood anywhere.
        """
        guarantee = self.facts.get("guarantee")
        if rule.when and guarantee in list(Guarantee) and guarantee not in rule.when:
            return f"it is for {' and '.join(rule.when)}"
        if self.facts.get("first") is True and any(read.side == "champion" for read in rule.references.readings):
            return "the alias has never stood anywhere, so there is no champion to compare with"
        return ""

    def approvers(self, roles: Collection[str]) -> set[str]:
        """Return who approved in one of the roles (in any where there are none), the requester left out."""
        return {
            approval["user"]
            for approval in self.inputs["approvals"]
            if approval["user"] not in (approval["requester"], self.facts.get("requester"))
            and (not roles or approval["role"] in roles)
        }

    def problems(self, rule: Rule) -> Iterable[Problem]:
        """Yield why a rule cannot be relied on, before anything is evaluated."""
        if rule.when and self.facts.get("guarantee") not in list(Guarantee):
            yield Problem("the guarantee was not recorded")
        for name in rule.references.facts:
            if name not in self.facts:
                yield Problem(f"the fact {name} was not recorded as {FACTS[name].__name__}")
        for reference in rule.references.readings:
            yield from self.reading_problem(reference)
            yield from self._too_little(reference, self.policy.minimum.get(reference.name))
        if rule.references.approvals:
            yield from self.approval_problem()

    def seen_by(self, rule: Rule) -> str:
        """Say what the rule read, for the reader of the answer."""
        references = rule.references
        seen = [
            f"{_title(r.side, r.name)} {r.field} {self.visible[r.side][r.name][r.field]:.6g}"
            for r in references.readings
        ]
        seen += [f"{name} {str(self.facts[name]).lower()}" for name in references.facts]
        if references.approvals:
            seen.append(f"approvals {len(self.inputs['approvals'])}")
        return ", ".join(seen)

    def reading_problem(self, reference: ReadingReference) -> Iterable[Problem]:
        """Yield why a reading cannot be used."""
        found = self.sides[reference.side].get(reference.name, [])
        name = _title(reference.side, reference.name)
        if len(found) != 1:
            yield Problem(f"{name} was {'read more than once' if found else 'not read'}")
        elif broken := [field for field, number in found[0].items() if not math.isfinite(number)]:
            yield Problem(f"{name} has a {broken[0]} that is no finite number")
        elif reference.field not in found[0] or "value" not in found[0]:
            yield Problem(f"{name} has no {reference.field}")
        elif found[0].get("low", -math.inf) > found[0].get("high", math.inf):
            yield Problem(f"{name} has an interval whose ends are exchanged")
        elif found[0].get("n", 0) < 1 or not 0 <= found[0].get("power", 0) <= 1:
            yield Problem(f"{name} has an n or a power that cannot be")

    def _too_little(self, reference: ReadingReference, minimum: Minimum | None) -> Iterable[Problem]:
        found = self.sides[reference.side].get(reference.name, [])
        if minimum is None or len(found) != 1:
            return
        name, n, power = _title(reference.side, reference.name), found[0].get("n", 0), found[0].get("power")
        if not n >= minimum.n:
            yield Problem(f"{name} rests on n = {n:g}, and {minimum.n} are needed", absent=False)
        if minimum.power > 0 and (power is None or not power >= minimum.power):
            said = "no power" if power is None else f"power {power:g}"
            yield Problem(f"{name} has {said}, and {minimum.power:g} is needed", absent=False)

    def approval_problem(self) -> Iterable[Problem]:
        """Yield why the approvals cannot be used."""
        given = self.inputs["approvals"]
        if len(given) > MAX_APPROVALS:
            yield Problem(f"there are more than {MAX_APPROVALS} approvals")
        if any(not all(approval.values()) for approval in given):
            yield Problem("an approval lacks its user, role or requester")


def _title(side: str, name: str) -> str:
    return name if side == "readings" else f"{name} of the {'parent' if side == 'before' else side}"
