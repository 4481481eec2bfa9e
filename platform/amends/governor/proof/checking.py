"""Check a policy before it judges anything: lint its file, and try it on a table of made-up cases."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from amends.errors import BadInput
from amends.governor.workspace import Workspace
from amends.policy import Known, find_policy, lint, parse_policy, try_policy
from amends.policy.fields import read_text


def check_policy(workspace: Workspace, name: str) -> dict[str, Any]:
    """Lint a policy by name or file; `findings` is empty where it is sound and the plugins can read what it reads.

    Raises:
        BadPolicy: There is none of that name.
    """
    file, host = _policy_file(workspace, name), workspace.host
    text = read_text(file)
    probes = {probe: [known.name for known in found.parameters] for probe, found in host.probes.items()}
    found = lint(text, file.name, Known(probes, tuple(host.operations)))
    document = {"file": file.name, "digest": hashlib.sha256(text.encode()).hexdigest()}
    if found:
        told = [
            {"line": f.place.line, "column": f.place.column, "about": f.about, "mistake": f.sentence} for f in found
        ]
        return {**document, "name": name, "rules": 0, "findings": told}
    policy = parse_policy(text, file.name)
    return {**document, "name": policy.name, "rules": len(policy.rules), "findings": []}


def try_table(workspace: Workspace, name: str, table: Path) -> dict[str, Any]:
    """Judge a table of cases by a policy, given by name or file, and say which came out as the table says.

    Raises:
        BadPolicy: The policy has a mistake.
        BadInput: The table has one.
    """
    file = _policy_file(workspace, name)
    policy = parse_policy(read_text(file), file.name)
    try:
        text = table.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise BadInput(f"{table} cannot be read; name a YAML file with a list of cases") from None
    trials = try_policy(policy, text, table.name)
    rows = [
        {
            **{"case": trial.name, "expected": trial.expected, "answer": trial.answer, "passed": trial.is_as_expected},
            "denied_by": sorted(trial.denying),
            "expected_denied_by": None if trial.denied_by is None else sorted(trial.denied_by),
            "reasons": list(trial.verdict.reasons()),
        }
        for trial in trials
    ]
    return {"policy": policy.name, "digest": policy.digest, "cases": rows}


def _policy_file(workspace: Workspace, name: str) -> Path:
    file = Path(name)
    is_path = file.suffix in (".yaml", ".yml") or file.name != name
    return file if is_path or file.is_file() else find_policy(name, workspace.home)
