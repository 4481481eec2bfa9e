"""Find and load policies, and check what they read against what the probes give."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from pathlib import Path

from amends.errors import BadPolicy
from amends.policy.engine import PolicyEngine
from amends.policy.fields import find_file, policy_directories, read_text
from amends.policy.parsing import NAME, names_read, names_searched, parse_policy
from amends.policy.rules import Policy

REGIMES = "regimes"


def list_policies(home: Path | None = None) -> tuple[str, ...]:
    """Return the names of all policies, the workspace's own among them."""
    files = (file for place in policy_directories(home) if place.is_dir() for file in place.glob("*.yaml"))
    return tuple(sorted({file.stem for file in files} - {REGIMES}))


def find_policy(name: str, home: Path | None = None) -> Path:
    """Return the file of a policy: the workspace's `policies/` first, then what Amends brings.

    Raises:
        BadPolicy: There is none of that name.
    """
    known = list_policies(home)
    if not NAME.fullmatch(name) or name not in known:
        raise BadPolicy(f"there is no policy {name!r}; there are {', '.join(known) or 'none'}")
    return find_file(home, f"{name}.yaml")


def load_policy(name: str, home: Path | None = None, engine: PolicyEngine | None = None) -> Policy:
    """Load a policy by name.

    Args:
        name: Such as `erasure`; the file must name itself the same.
        home: The workspace's directory, whose `policies/` overrides, or None.
        engine: The language of the rules; CEL unless told.

    Raises:
        BadPolicy: There is none, or it has a mistake; the sentence names file and rule.
    """
    file = find_policy(name, home)
    policy = parse_policy(read_text(file), file.name, engine)
    if policy.name != name:
        raise BadPolicy(f"{file.name} names itself {policy.name!r}; give file and policy one name")
    return policy


def check(policy: Policy, catalogue: Collection[str]) -> None:
    """Refuse a policy that reads what no probe gives.

    Args:
        policy: The policy.
        catalogue: Every reading's name, `probe/statistic`.

    Raises:
        BadPolicy: A rule, `required`, `minimum` or `search` names a reading that is not in the catalogue.
    """
    for place, name in (*names_read(policy), *names_searched(policy)):
        if name not in catalogue:
            near = difflib.get_close_matches(name, sorted(catalogue), 1)
            way_out = f"did you mean {near[0]!r}" if near else "install the plugin whose probe reads it"
            raise BadPolicy(f"policy {policy.name!r}, {place}: no probe reads {name!r}; {way_out}")
