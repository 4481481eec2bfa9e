"""One verb moves an alias: judged by `promotion.yaml`, compared and swapped here, read back in MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from amends.errors import Denied
from amends.governor.judging import decide
from amends.governor.workspace import Workspace
from amends.ledger import aliases, lineage
from amends.ledger.actions import Action
from amends.records import Change, ModelVersion, Verdict

CHAMPION = "champion"


@dataclass(frozen=True)
class Promotion:
    """A candidate for an alias with everything that the policy may look at."""

    change: Change
    alias: str
    expected: int | None
    case: str
    facts: Mapping[str, Any]
    approvals: tuple[Mapping[str, Any], ...] = ()
    attempt: int = 0


def promote(workspace: Workspace, promotion: Promotion, actor: str) -> Verdict:
    """Move an alias to a candidate if the policy and every reviewer allow it.

    Raises:
        Denied: A rule or a reviewer says no, or the alias has moved meanwhile.
    """
    change, alias, case = promotion.change, promotion.alias, promotion.case
    facts = {**promotion.facts, "first": promotion.expected is None}
    decision = f"{case}-promotion-{promotion.attempt}"
    verdict = decide(workspace, "promotion", decision, case, change, facts, promotion.approvals)
    if not verdict.allowed:
        raise Denied(f"{change.candidate} is not promoted: {'; '.join(verdict.reasons())}")
    candidate = change.candidate
    with workspace.database.transaction() as connection:
        aliases.move(
            connection,
            model=candidate.name,
            alias=alias,
            expected=promotion.expected,
            new=candidate.version,
            actor=actor,
            case=case,
        )
        body = {
            "model": candidate.name,
            "alias": alias,
            "old": promotion.expected,
            "new": candidate.version,
            "digest": candidate.digest,
            "policy": verdict.policy_digest,
        }
        workspace.record(connection, f"{case}:alias:{alias}", Action.ALIAS_MOVED, body, actor)
    workspace.registry.set_alias(candidate.name, alias, candidate.version, promotion.expected, decision)
    return verdict


def reconcile(workspace: Workspace) -> list[str]:
    """Return one sentence for each alias that stands elsewhere in MLflow than we moved it."""
    sentences = []
    with workspace.database.read() as connection:
        ours = {model: aliases.aliases_of(connection, model) for model in lineage.models(connection)}
    for model, names in ours.items():
        for alias, number in names.items():
            theirs = workspace.registry.alias(model, alias)
            if theirs != number:
                sentences.append(f"{model}@{alias} is version {theirs} in MLflow, but was moved to {number} here")
    return sentences


def standing(workspace: Workspace, model: str) -> ModelVersion | None:
    """Return a model's champion, or the newest active version of one that never had any; None where there is none."""
    found = champion(workspace, model)
    if found is not None:
        return found
    with workspace.database.read() as connection:
        number = aliases.newest(connection, model)
        return None if number is None else ModelVersion(model, number, lineage.get(connection, model, number).digest)


def champion(workspace: Workspace, model: str) -> ModelVersion | None:
    """Return the version that a model's champion alias stands for, or None."""
    with workspace.database.read() as connection:
        number = aliases.current(connection, model, CHAMPION)
        if number is None:
            return None
        return ModelVersion(model, number, lineage.get(connection, model, number).digest)
