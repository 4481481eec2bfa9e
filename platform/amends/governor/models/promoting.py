"""One verb moves an alias: judged by `promotion.yaml`, compared and swapped here, read back in MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from amends.errors import Denied
from amends.governor.judging import decide
from amends.governor.models.licences import licence_facts
from amends.governor.models.provenance import descends_from_erased
from amends.governor.models.quarantine import refuse_quarantined
from amends.governor.models.signatures import is_signed
from amends.governor.workspace import Workspace
from amends.ledger import aliases, lineage
from amends.ledger.actions import Action
from amends.records import Change, ModelVersion, Reading, Verdict

CHAMPION = "champion"


@dataclass(frozen=True)
class Promotion:
    """A candidate for an alias with everything that the policy may look at.

    Args:
        change: The candidate, its parent, and what was read on both.
        alias: The alias to move.
        expected: The version that it must stand for now; None where it must not exist.
        case: On whose behalf.
        facts: What the case knows beside what is found out here.
        approvals: Who approved.
        attempt: Of the case's work; each is judged anew.
        champion: What was read on the version that the alias stands for; None where that is the parent.
    """

    change: Change
    alias: str
    expected: int | None
    case: str
    facts: Mapping[str, Any]
    approvals: tuple[Mapping[str, Any], ...] = ()
    attempt: int = 0
    champion: tuple[Reading, ...] | None = None

    @property
    def beside(self) -> tuple[Reading, ...]:
        """What was read on the version that the alias stands for."""
        if self.champion is not None:
            return self.champion
        parent = self.change.parent
        return self.change.before if parent is not None and parent.version == self.expected else ()


def promote(workspace: Workspace, promotion: Promotion, actor: str) -> Verdict:
    """Move an alias to a candidate if the policy and every reviewer allow it.

    Raises:
        Denied: A rule or a reviewer says no, the alias has moved, or the candidate was set aside meanwhile.
    """
    change, alias, case = promotion.change, promotion.alias, promotion.case
    decision = f"{case}-promotion-{promotion.attempt}"
    verdict = decide(
        workspace, "promotion", decision, case, change, _facts(workspace, promotion), promotion.approvals,
        promotion.beside,
    )  # fmt: skip
    if not verdict.allowed:
        raise Denied(f"{change.candidate} is not promoted: {'; '.join(verdict.reasons())}")
    candidate = change.candidate
    check_mirror(workspace, candidate, alias, promotion.expected)
    with workspace.database.transaction() as connection:
        refuse_quarantined(workspace, lineage.get(connection, candidate.name, candidate.version))
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


def _facts(workspace: Workspace, promotion: Promotion) -> dict[str, Any]:
    """Return what the case knows, and what is true of the candidate and the alias whatever the case."""
    digest = promotion.change.candidate.digest
    known = {
        **licence_facts(workspace, digest),
        "descends_from_erased": descends_from_erased(workspace, digest),
        "environment": promotion.alias,
        "first": promotion.expected is None,
        "signature_verified": is_signed(workspace, digest),
    }
    return {"requested": False, **promotion.facts, **known}


def check_mirror(workspace: Workspace, candidate: ModelVersion, alias: str, expected: int | None) -> None:
    """Refuse to move an alias that somebody moved in MLflow; the ledger is not touched before that is put right.

    Raises:
        Denied: It stands neither where it is to move from nor at the candidate, as after a crash.
    """
    theirs = workspace.registry.alias(candidate.name, alias)
    if theirs not in (expected, candidate.version):
        raise Denied(
            f"{candidate.name}@{alias} was moved in MLflow to {theirs}, outside Amends; "
            "see `amends aliases check`, which puts it back with --enforce"
        )


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
