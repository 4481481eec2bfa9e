"""The nouns of a policy: rules, what their readings need, and who must approve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from amends.policy.references import References
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
class Policy:
    """Thresholds and choices, versioned by the digest of the file's bytes.

    `probes` are read for every change; `audit` besides, where the guarantee is approximate and readings decide.
    `strangers` is how many made-up people a finding asks about beside the person.
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
    text: str = field(default="", repr=False, compare=False)
