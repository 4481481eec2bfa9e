"""The nouns of a policy: rules, what their readings need, and who must approve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from amends.policy.references import ReadingReference, References
from amends.records import Guarantee


class Severity(StrEnum):
    """What a failed rule does: deny, or only warn."""

    DENY = "deny"
    WARN = "warn"


@dataclass(frozen=True)
class Rule:
    """One named clause; `when` is empty where it is asked whatever the guarantee."""

    id: str
    expression: str
    message: str
    severity: Severity
    when: tuple[Guarantee, ...] = ()
    references: References = field(default_factory=References, repr=False, compare=False)


@dataclass(frozen=True)
class Minimum:
    """What a reading needs before a rule may rely on it."""

    n: int = 1
    power: float = 0.0


@dataclass(frozen=True)
class Quorum:
    """How many different people must approve, none of them the requester, and in which roles (any where empty)."""

    count: int = 2
    roles: tuple[str, ...] = ()


@dataclass(frozen=True)
class Candidate:
    """An operation with its settings, to be tried."""

    operation: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Environment:
    """What an alias needs before it moves; `first` instead, where it has never stood anywhere."""

    approvals: Quorum
    first: Quorum | None = None


class Reconcile(StrEnum):
    """What happens to what was changed in MLflow behind our back: it is only told, or also put right."""

    OBSERVE = "observe"
    ENFORCE = "enforce"


class Descendants(StrEnum):
    """What an erasure plans for a model that descends from its own: make it again, or take it out of service."""

    REBUILD = "rebuild"
    RETIRE = "retire"


OTHERWISE = "default"
"""The environment of an alias that has none of its own."""


@dataclass(frozen=True)
class Policy:
    """Thresholds and choices, versioned by the digest of the file's bytes.

    `probes` are read for every change; `audit` besides, where the guarantee is approximate and readings decide.
    `strangers` is how many made-up people a finding asks about beside the person. `search` says what is tried before
    one candidate is judged, or is None. `environments` are aliases and the approvals that each needs; `evidence_days`
    is from when on a promotion reads its evidence again. `incidents` is the probe, at most one with its settings,
    that asks a candidate about its model's incidents. `descendants` is what an erasure plans for models that were made
    from its own: where one cannot be made again, it is taken out of service whatever this says.
    """

    name: str
    description: str
    digest: str
    rules: tuple[Rule, ...]
    probes: Mapping[str, Mapping[str, Any]]
    audit: Mapping[str, Mapping[str, Any]]
    required: tuple[str, ...]
    minimum: Mapping[str, Minimum]
    approvals: Quorum
    operations: tuple[str, ...]
    throughput: str
    purge_after_days: int
    retention_days: int
    strangers: int = 0
    search: Search | None = None
    environments: Mapping[str, Environment] = field(default_factory=dict)
    evidence_days: int = 30
    reconcile: Reconcile = Reconcile.OBSERVE
    incidents: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    descendants: Descendants = Descendants.REBUILD
    text: str = field(default="", repr=False, compare=False)

    def quorum_of(self, alias: str, is_first: bool = False) -> Quorum:
        """Return who must approve that an alias moves: its environment says it, else the default one, else two people.

        Args:
            alias: Such as `champion`.
            is_first: Whether the alias has never stood anywhere.
        """
        found = self.environments.get(alias) or self.environments.get(OTHERWISE) or Environment(Quorum())
        return found.first if is_first and found.first is not None else found.approvals


@dataclass(frozen=True)
class Search:
    """What is tried on some records before one candidate is judged on others.

    Args:
        candidates: What to try, each from the same parent.
        within: The budget, as a policy of its own: its probes are read on parent and candidate, its rules must hold.
        least: Which number of which reading is to be least.
        against: What a picture sets it against.
        most: How many records are searched on; the rest judge.
    """

    candidates: tuple[Candidate, ...]
    within: Policy
    least: ReadingReference
    against: ReadingReference
    most: int
