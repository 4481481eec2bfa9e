"""Record what was changed in MLflow behind our back, and put it right where the policy says so."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from amends.governor.judging import find_policy
from amends.governor.models.divergences import Divergence, Kind, divergences
from amends.governor.workspace import Workspace
from amends.ledger import audit
from amends.ledger.actions import Action
from amends.ledger.mirror import put_alias, put_tag
from amends.policy import Reconcile
from amends.records import digest_of

ROLES = ("operator", "ml-engineer", "safety-engineer", "dpo", "auditor")
WRITERS = ("operator", "ml-engineer", "safety-engineer")
ACTOR = "reconciler"


@dataclass(frozen=True)
class Report:
    """What was found, whether it was to be put right, and what was."""

    mode: Reconcile
    found: tuple[Divergence, ...]
    restored: frozenset[str]

    def rows(self) -> list[dict[str, Any]]:
        """Return one plain mapping for each thing found."""
        return [
            {**asdict(one), "kind": str(one.kind), "sentence": one.sentence, "restored": one.key in self.restored}
            for one in self.found
        ]


def check_aliases(workspace: Workspace, *, is_enforced: bool = False, model: str = "") -> Report:
    """Compare every model with MLflow, record each divergence once, and put right what can be, where it is to be.

    Args:
        workspace: Whose models.
        is_enforced: Put it right, even where the policy only observes.
        model: Only this one; all where it is empty.

    Raises:
        Denied: Who is signed in may not look, or not put anything right.
        UnknownModel: There is no such model.
    """
    workspace.require_unattended_or(*ROLES)
    mode = Reconcile.ENFORCE if is_enforced else find_policy(workspace, "promotion").reconcile
    if is_enforced:
        workspace.require_unattended_or(*WRITERS)
    found = tuple(divergences(workspace, model))
    _record(workspace, found)
    mended = {one.key for one in found if mode is Reconcile.ENFORCE and _mend(workspace, one)}
    return Report(mode, found, frozenset(mended))


def _record(workspace: Workspace, found: tuple[Divergence, ...]) -> None:
    """Enter each divergence in the audit log, once until it is put right, before anything is."""
    if not found:
        return
    with workspace.database.transaction() as connection:
        for one in found:
            action = Action.ALIAS_DIVERGED if one.kind in (Kind.ALIAS, Kind.STRANGER) else Action.VERSION_DIVERGED
            times = audit.count(connection, f"restored:{one.key}:")
            id = f"diverged:{one.key}:{times}:{digest_of([one.ours, one.theirs])[:12]}"
            workspace.record(connection, id, action, _body(one), ACTOR)


def _mend(workspace: Workspace, one: Divergence) -> bool:
    """Put one thing back and say whether it could be; an alias of a version that MLflow lost cannot."""
    if not one.is_mendable or one.ours is None or one.version is None:
        return False
    if one.kind is Kind.ALIAS:
        put_alias(workspace.registry, one.model, one.name, one.version)
    else:
        put_tag(workspace.registry, one.model, one.version, one.name, one.ours)
    action = Action.ALIAS_RESTORED if one.kind is Kind.ALIAS else Action.VERSION_RESTORED
    with workspace.database.transaction() as connection:
        times = audit.count(connection, f"restored:{one.key}:")
        actor = workspace.actor.id if workspace.token else ACTOR
        workspace.record(connection, f"restored:{one.key}:{times}", action, _body(one), actor)
    return True


def _body(one: Divergence) -> dict[str, Any]:
    return {**asdict(one), "kind": str(one.kind)}
