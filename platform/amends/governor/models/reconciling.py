"""Record what was changed in MLflow behind our back, and put it right where the policy says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from amends.governor.judging import find_policy
from amends.governor.models.divergences import Divergence, Kind, divergences
from amends.governor.models.quarantine import set_aside_changed
from amends.governor.models.verifying import Doubt
from amends.governor.workspace import Workspace
from amends.ledger import audit
from amends.ledger.actions import Action
from amends.ledger.columns import now, stamp
from amends.ledger.mirror import put_alias
from amends.policy import Reconcile
from amends.records import digest_of

ROLES = ("operator", "ml-engineer", "safety-engineer", "dpo", "auditor")
WRITERS = ("operator", "ml-engineer", "safety-engineer")
ACTOR = "reconciler"
OF_ALIASES = (Kind.ALIAS, Kind.STRANGER, Kind.QUARANTINED)


@dataclass(frozen=True)
class Report:
    """What was found, whether it was to be put right, what was, and which versions were set aside."""

    mode: Reconcile
    found: tuple[Divergence, ...]
    restored: frozenset[str]
    aside: tuple[Doubt, ...] = ()

    def rows(self) -> list[dict[str, Any]]:
        """Return one plain mapping for each thing found."""
        return [
            *(_aside(doubt) for doubt in self.aside),
            *(
                {**_body(one), "sentence": one.sentence, "restored": one.key in self.restored, "quarantined": False}
                for one in self.found
            ),
        ]


def check_aliases(workspace: Workspace, *, is_enforced: bool = False, model: str = "", is_deep: bool = False) -> Report:
    """Compare every model with MLflow, record each divergence once, and put right what can be, where it is to be.

    A version that is not what was signed is set aside first, whatever the policy says of the rest.

    Args:
        workspace: Whose models.
        is_enforced: Put it right, even where the policy only observes.
        model: Only this one; all where it is empty.
        is_deep: Read every byte of the versions as well.

    Raises:
        Denied: Who is signed in may not look, or not put anything right.
        UnknownModel: There is no such model.
    """
    workspace.require_unattended_or(*ROLES)
    mode = Reconcile.ENFORCE if is_enforced else find_policy(workspace, "promotion").reconcile
    if is_enforced:
        workspace.require_unattended_or(*WRITERS)
    doubts = set_aside_changed(workspace, ACTOR, model, is_deep=is_deep)
    found = (*divergences(workspace, model), *(unread(doubt) for doubt in doubts if not doubt.is_proven))
    _close(workspace, found, model, is_deep)
    times = _times(workspace)
    _record(workspace, found, times)
    mended = {one.key for one in found if mode is Reconcile.ENFORCE and _mend(workspace, one, times[one.key])}
    return Report(mode, found, frozenset(mended), tuple(doubt for doubt in doubts if doubt.is_proven))


def reconcile_due(workspace: Workspace) -> Report | None:
    """Compare as the policy says, if `reconcile_minutes` have passed since that was last done; else None.

    The log says that it was done when it was done: after a crash on the way the next process does it again, and what
    the first one recorded or put back is not recorded twice.
    """
    minutes = workspace.settings.reconcile_minutes
    with workspace.database.read() as connection:
        last = audit.latest(connection, Action.REGISTRY_RECONCILED)
    if not minutes or (last and now() - datetime.fromisoformat(last.at) < timedelta(minutes=minutes)):
        return None
    report = check_aliases(workspace)
    body = {"mode": str(report.mode), "found": len(report.found), "restored": len(report.restored)}
    with workspace.database.transaction() as connection:
        body["quarantined"] = len(report.aside)
        workspace.record(connection, f"reconciled:{stamp(now())}", Action.REGISTRY_RECONCILED, body, ACTOR)
    return report


def unread(doubt: Doubt) -> Divergence:
    """Return a version that could not be read back as what it is to the reconciler."""
    version = doubt.version
    return Divergence(Kind.UNREAD, version.model, "", version.number, version.digest, None, said=doubt.why)


def _times(workspace: Workspace) -> Counter[str]:
    """Return how often what differed at each place stood right again."""
    with workspace.database.read() as connection:
        return Counter(entry.id.split(":")[1] for entry in audit.beginning(connection, "restored:"))


def _close(workspace: Workspace, found: tuple[Divergence, ...], model: str, is_deep: bool) -> None:
    """Enter what stands right again by itself: people put it back, or a process that died before it could say so.

    Without it the same divergence, when it comes again, would pass for the one that was told before.
    """
    still, times = {one.key for one in found}, _times(workspace)
    with workspace.database.read() as connection:
        told = audit.beginning(connection, "diverged:")
    for entry in told:
        _, key, before, _ = entry.id.split(":")
        kind, of = entry.body["kind"], entry.body["model"]
        is_looked_at = (not model or of == model) and (is_deep or kind != Kind.UNREAD)
        if is_looked_at and key not in still and int(before) == times[key]:
            times[key] += 1
            action = Action.ALIAS_RESTORED if kind in OF_ALIASES else Action.VERSION_RESTORED
            with workspace.database.transaction() as connection:
                workspace.record(connection, f"restored:{key}:{before}", action, entry.body, ACTOR)


def _record(workspace: Workspace, found: tuple[Divergence, ...], times: Mapping[str, int]) -> None:
    """Enter each divergence in the audit log, once until it is put right, before anything is."""
    if not found:
        return
    with workspace.database.transaction() as connection:
        for one in found:
            action = Action.ALIAS_DIVERGED if one.kind in OF_ALIASES else Action.VERSION_DIVERGED
            id = f"diverged:{one.key}:{times[one.key]}:{digest_of([one.ours, one.theirs])[:12]}"
            workspace.record(connection, id, action, _body(one), ACTOR)


def _mend(workspace: Workspace, one: Divergence, times: int) -> bool:
    """Put one thing back and say whether it could be; an alias of a version that MLflow lost cannot."""
    if not one.is_mendable or one.ours is None or one.version is None:
        return False
    if one.kind is Kind.ALIAS:
        put_alias(workspace.registry, one.model, one.name, one.version)
    else:
        workspace.registry.put_tag(one.model, one.version, one.name, one.ours)
    action = Action.ALIAS_RESTORED if one.kind is Kind.ALIAS else Action.VERSION_RESTORED
    with workspace.database.transaction() as connection:
        actor = workspace.actor.id if workspace.token else ACTOR
        workspace.record(connection, f"restored:{one.key}:{times}", action, _body(one), actor)
    return True


def _body(one: Divergence) -> dict[str, Any]:
    told = {**asdict(one), "kind": str(one.kind)}
    return {name: value for name, value in told.items() if name != "said"}


def _aside(doubt: Doubt) -> dict[str, Any]:
    version = doubt.version
    return {
        **{"kind": "changed version", "model": version.model, "name": "", "version": version.number},
        **{"ours": version.digest, "theirs": None, "is_mendable": False, "restored": False, "quarantined": True},
        "sentence": f"{version.name} is quarantined now: {doubt.why}",
    }
