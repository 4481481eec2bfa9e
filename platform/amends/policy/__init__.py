"""Thresholds and choices in YAML, judged in CEL, replayable by anyone; and the clocks a request runs under."""

from amends.policy.clock import Deadline, Extension, Regime, deadline, extend, find_regime, load_regimes, read_deadline
from amends.policy.documents import check, find_policy, list_policies, load_policy
from amends.policy.engine import FACTS, GIVEN, CelEngine, Outcome, PolicyEngine
from amends.policy.evidence import inputs_to_json, verdict_from_json, verdict_to_json
from amends.policy.judging import explain, judge, replay
from amends.policy.linting import Finding, Known, lint
from amends.policy.parsing import parse_policy
from amends.policy.references import ReadingReference
from amends.policy.rules import (
    Candidate,
    Descendants,
    Environment,
    Minimum,
    Policy,
    Quorum,
    Reconcile,
    Rule,
    Search,
    Severity,
)
from amends.policy.trying import Trial, try_policy

__all__ = [
    "FACTS",
    "GIVEN",
    "Candidate",
    "CelEngine",
    "Deadline",
    "Descendants",
    "Environment",
    "Extension",
    "Finding",
    "Known",
    "Minimum",
    "Outcome",
    "Policy",
    "PolicyEngine",
    "Quorum",
    "ReadingReference",
    "Reconcile",
    "Regime",
    "Rule",
    "Search",
    "Severity",
    "Trial",
    "check",
    "deadline",
    "explain",
    "extend",
    "find_policy",
    "find_regime",
    "inputs_to_json",
    "judge",
    "lint",
    "list_policies",
    "load_policy",
    "load_regimes",
    "parse_policy",
    "read_deadline",
    "replay",
    "try_policy",
    "verdict_from_json",
    "verdict_to_json",
]
