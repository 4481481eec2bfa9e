"""Where a model's aliases stood: who moved each, when, why, on whose approval, and under which policy."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from amends.errors import UnknownModel
from amends.governor.models.quarantine import QUARANTINED, quarantines
from amends.governor.workspace import Workspace
from amends.ledger import aliases, approvals, cases, decisions, lineage, people
from amends.ledger.aliases import Move
from amends.ledger.lineage import Version

if TYPE_CHECKING:
    from sqlalchemy import Connection


def alias_history(workspace: Workspace, model: str, alias: str = "") -> list[dict[str, Any]]:
    """Return every move of a model's aliases, or of one, the oldest first; `to` is None where one was taken away.

    Without an alias, quarantines and releases of its versions stand among them, with `version` and no alias.

    Raises:
        UnknownModel: There is no such model.
    """
    with workspace.database.read() as connection:
        if not lineage.versions_of(connection, model):
            raise UnknownModel(f"there is no model {model!r}; see `amends models list`")
        names = {person.id: person.name for person in people.everyone(connection, removed=True)}
        wanted = [alias] if alias else aliases.names_of(connection, model)
        moves = [move for name in wanted for move in aliases.history(connection, model, name)]
        found = [_told(connection, move, names) for move in moves]
    if not alias:
        numbers = [version.number for version in _versions(workspace, model)]
        found += [_set_aside(model, n, one, names) for n in numbers for one in quarantines(workspace, model, n)]
    return sorted(found, key=lambda move: move["at"])


def _versions(workspace: Workspace, model: str) -> tuple[Version, ...]:
    with workspace.database.read() as connection:
        return lineage.versions_of(connection, model)


def _set_aside(model: str, number: int, one: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """Return a version's quarantine, or its release, as a move of its status; no alias moved."""
    return {
        **{"model": model, "alias": None, "revision": None, "version": number},
        **{"from": "active" if one["to"] == QUARANTINED else QUARANTINED, "to": one["to"]},
        **{"at": datetime.fromisoformat(one["at"]), "by": names.get(one["by"], one["by"]), "reason": one["reason"]},
        **{"case": None, "approvals": [], "policy_digest": None},
    }


def _told(connection: Connection, move: Move, names: dict[str, str]) -> dict[str, Any]:
    plan = (cases.get(connection, move.case_id).plan or {}) if move.case_id else {}
    return {
        **{"model": move.model, "alias": move.alias, "revision": move.revision},
        **{"from": move.old_number, "to": move.new_number or None, "at": move.at},
        "by": names.get(move.actor, move.actor),
        "reason": plan.get("reason") or str(plan.get("kind", "")),
        "case": move.case_id,
        "approvals": _approvals(connection, move.case_id, names),
        "policy_digest": _policy(connection, move.case_id),
    }


def _approvals(connection: Connection, case: str | None, names: dict[str, str]) -> list[str]:
    given = approvals.standing(connection, case) if case else ()
    return [f"{names.get(a.person, a.person)} ({a.role})" for a in given if a.decision == "approve"]


def _policy(connection: Connection, case: str | None) -> str | None:
    """Return the digest of the policy that allowed the move: the newest decision is the one that did."""
    found = decisions.find(connection, case) if case else ()
    allowed = [one.policy_digest for one in found if one.policy == "promotion" and one.verdict.allowed]
    return allowed[-1] if allowed else None
