"""What the ledger holds, as plain values to read: models, data, policies, the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from amends.governor.judging import find_policy
from amends.governor.workspace import Workspace
from amends.ledger import aliases, audit, cases, datasets, decisions, inventory, lineage
from amends.ledger.datasets import Dataset
from amends.policy import list_policies
from amends.policy.judging import explain


def version(workspace: Workspace, reference: str) -> dict[str, Any]:
    """Return a version with its recipe, where it comes from, what went into it and who was given it.

    Raises:
        UnknownModel: There is no such model, version or alias.
    """
    with workspace.database.read() as connection:
        found = aliases.resolve(connection, reference)
        names = aliases.aliases_of(connection, found.model)
        ever = aliases.names_of(connection, found.model)
        moves = [asdict(move) for name in ever for move in aliases.history(connection, found.model, name)]
        return {
            **{"model": found.model, "version": found.number, "digest": found.digest, "status": str(found.status)},
            "guarantee": None if found.guarantee is None else str(found.guarantee),
            "case": found.case_id,
            "registered_at": found.registered_at,
            "aliases": sorted(name for name, number in names.items() if number == found.number),
            "recipe": dict(found.recipe),
            "parents": [asdict(edge) for edge in lineage.parents(connection, found.digest)],
            "data": [asdict(use) for use in lineage.data_of(connection, found.digest)],
            "state_blobs": len(inventory.state_of(connection, found.digest)),
            "recipients": [asdict(told) for told in inventory.recipients_of(connection, [found.digest])],
            "alias_history": moves,
        }


def data(workspace: Workspace) -> list[dict[str, Any]]:
    """Return every registered data set."""
    with workspace.database.read() as connection:
        return [_dataset(found) for found in datasets.find(connection)]


def dataset(workspace: Workspace, reference: str) -> dict[str, Any]:
    """Return one data set with the versions that learnt from it.

    Raises:
        BadInput: There is none of that name or digest.
    """
    with workspace.database.read() as connection:
        found = datasets.get(connection, reference)
        trained = lineage.versions_trained_on(connection, [found.digest])
        return {**_dataset(found), "versions": [str(version.name) for version in trained]}


def _dataset(found: Dataset) -> dict[str, Any]:
    settings: Mapping[str, Any] = found.settings
    return {
        **{"name": found.name, "digest": found.digest, "status": str(found.status)},
        **{"records": found.records, "subjects": found.subjects, "controls": found.controls},
        "groups": dict(settings.get("groups", {})),
        "external_sha256": found.source_digest,
        "licence": str(settings.get("licence", "")),
        "parent": found.parent,
        "registered_at": found.registered_at,
    }


def policies(workspace: Workspace) -> list[dict[str, Any]]:
    """Return every policy in one line."""
    found = [find_policy(workspace, name) for name in list_policies(workspace.home)]
    return [
        {"name": p.name, "digest": p.digest, "description": p.description, "rules": len(p.rules)}
        for p in found
    ]  # fmt: skip


def policy(workspace: Workspace, name: str) -> dict[str, Any]:
    """Return one policy whole.

    Raises:
        BadPolicy: There is none, or it has a mistake.
    """
    found = find_policy(workspace, name)
    rules = [
        {
            **{"id": rule.id, "severity": str(rule.severity), "expression": rule.expression, "message": rule.message},
            "when": [str(guarantee) for guarantee in rule.when],
        }
        for rule in found.rules
    ]
    return {
        **{"name": found.name, "digest": found.digest, "description": found.description, "rules": rules},
        "operations": list(found.operations),
        "probes": {probe: dict(settings) for probe, settings in found.probes.items()},
        "audit": {probe: dict(settings) for probe, settings in found.audit.items()},
        "required": list(found.required),
        "approvals": asdict(found.approvals),
        "environments": {alias: asdict(environment) for alias, environment in found.environments.items()},
        **{"evidence_days": found.evidence_days, "reconcile": str(found.reconcile)},
        **{"purge_after_days": found.purge_after_days, "retention_days": found.retention_days, "text": found.text},
        "descendants": str(found.descendants),
    }


def verdicts(workspace: Workspace, case: str | None = None) -> list[dict[str, Any]]:
    """Return every decision that a policy took, or those of one case, with every rule's answer.

    Raises:
        UnknownCase: There is none of that id.
    """
    with workspace.database.read() as connection:
        if case is not None:
            cases.get(connection, case)
        return [_decision(found) for found in decisions.find(connection, case)]


def verdict(workspace: Workspace, id: str) -> dict[str, Any]:
    """Return one decision, explained in sentences.

    Raises:
        BadInput: There is none of that id.
    """
    with workspace.database.read() as connection:
        found = decisions.get(connection, id)
    return {**_decision(found), "explanation": explain(found.verdict)}


def _decision(found: decisions.Decision) -> dict[str, Any]:
    return {
        **{"id": found.id, "case": found.case_id, "at": found.at},
        **{"policy": found.policy, "policy_digest": found.policy_digest, "allowed": found.verdict.allowed},
        "answers": [asdict(answer) for answer in found.verdict.answers],
        "objections": list(found.verdict.objections),
        "inputs": dict(found.inputs),
    }


def entries(workspace: Workspace, case: str = "", last: int = 0) -> list[dict[str, Any]]:
    """Return the audit entries, oldest first.

    Args:
        workspace: Whose log.
        case: Only those of this case.
        last: Only so many of the newest; 0 for all.
    """
    with workspace.database.read() as connection:
        skipped = max(0, audit.head(connection)[0] - last) if last and not case else 0
        found = [asdict(entry) for entry in audit.entries(connection, after=skipped)]
    found = [entry for entry in found if not case or case in entry["id"]]
    return found[-last:] if last else found
