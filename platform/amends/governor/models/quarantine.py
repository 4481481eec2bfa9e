"""Set a version aside, so that it is neither promoted nor handed out, and let it go again on a second person's word.

Anybody who works on models may stop one; what was stopped goes on only when somebody else says so, and only while its
bytes are those that were signed. The audit log keeps who, when and why. What is set aside are its files: another
version that has the same ones goes nowhere either, under whatever name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from amends.errors import AmendsError, BadInput, Denied
from amends.governor.models.recipes import RECIPE
from amends.governor.models.signatures import is_signed
from amends.governor.models.verifying import Doubt, doubts, verify_version
from amends.governor.workspace import Workspace
from amends.ledger import aliases, audit, lineage
from amends.ledger.actions import Action
from amends.ledger.lineage import Version
from amends.store.trees import Entry, fetch_manifest

if TYPE_CHECKING:
    from sqlalchemy import Connection

QUARANTINED = "quarantined"
TAG = "amends.quarantined"
STOPPERS = ("operator", "ml-engineer", "safety-engineer", "dpo")
RELEASERS = ("ml-engineer", "safety-engineer", "dpo")


def quarantine(workspace: Workspace, reference: str, reason: str) -> Version:
    """Set a version aside.

    Args:
        workspace: Where it is.
        reference: `model@number` or `model@alias`.
        reason: Why; it is kept, so it names nobody.

    Raises:
        BadInput: No version or no reason is given.
        Denied: Who acts may not, or the version is not active.
    """
    actor = workspace.require_role(*STOPPERS)
    version = _named(workspace, reference, reason)
    if version.status == QUARANTINED:
        raise Denied(f"{version.name} is quarantined already; see `amends models show {version.name}`")
    if version.status != "active":
        raise Denied(f"{version.name} is {version.status}, and serves nobody; there is nothing to quarantine")
    return _change(workspace, version, QUARANTINED, reason, actor.id)


def release(workspace: Workspace, reference: str, reason: str) -> Version:
    """Let a version go again, once its bytes were read back and found to be those that were signed.

    Raises:
        BadInput: No version or no reason is given.
        Denied: It is not quarantined, who acts set it aside themselves, what it comes from is quarantined still, or it
            is not signed by this workspace.
        DigestMismatch: Its bytes are others.
    """
    actor = workspace.require_role(*RELEASERS)
    version = _named(workspace, reference, reason)
    if version.status != QUARANTINED:
        raise Denied(f"{version.name} is {version.status} and not quarantined; there is nothing to release")
    past = quarantines(workspace, version.model, version.number)
    if past and past[-1]["by"] == actor.id:
        raise Denied(f"you set {version.name} aside yourself; somebody else has to release it")
    _check_origin(workspace, version)
    if not is_signed(workspace, version.digest):
        raise Denied(f"{version.name} is not signed by this workspace; restore its signature from a backup")
    verify_version(workspace, version.name)
    return _change(workspace, version, "active", reason, actor.id)


def set_aside(workspace: Workspace, version: Version, reason: str, actor: str) -> Version:
    """Set a version aside on anybody's behalf; one that is not active by now stays what it is."""
    with workspace.database.transaction() as connection:
        now = lineage.get(connection, version.model, version.number)
        if now.status != "active":
            return now
        changed = _write(workspace, connection, now, QUARANTINED, reason, actor)
    _tell_mlflow(workspace, changed)
    return changed


def set_aside_changed(workspace: Workspace, actor: str, model: str = "", *, is_deep: bool = False) -> tuple[Doubt, ...]:
    """Set aside every version that is not what was signed, and return those with what could not be read at all."""
    found = tuple(doubts(workspace, model, is_deep=is_deep))
    for doubt in found:
        if doubt.is_proven:
            set_aside(workspace, doubt.version, doubt.why, actor)
    return found


def quarantines(workspace: Workspace, model: str, number: int) -> list[dict[str, Any]]:
    """Return what happened to a version, oldest first: `to` (quarantined or active), `at`, `by` and `reason`."""
    with workspace.database.read() as connection:
        return [
            {
                **{"to": QUARANTINED if entry.action == Action.MODEL_QUARANTINED else "active", "at": entry.at},
                **{"by": entry.actor, "reason": str(entry.body["reason"])},
            }
            for entry in audit.beginning(connection, _prefix(model, number))
        ]


def refuse_quarantined(workspace: Workspace, version: Version) -> None:
    """Refuse a version that is set aside, or that has the files of one that is.

    Raises:
        Denied: It is.
    """
    way_out = "see `amends models history {}`, and take another version"
    if version.status == QUARANTINED:
        raise Denied(f"{version.name} is quarantined; {way_out.format(version.model)}")
    if (other := quarantined_as(workspace, version.digest)) is not None:
        raise Denied(
            f"{version.name} has the files of {other.name}, which is quarantined; {way_out.format(other.model)}"
        )


def quarantined_as(workspace: Workspace, digest: str) -> Version | None:
    """Return a version that is set aside and has the same files as this one, or None.

    One whose list of files is lost counts by its digest alone: a rollback from it must not wait for a backup.
    """
    with workspace.database.read() as connection:
        aside = lineage.with_status(connection, QUARANTINED)
    alike = [version for version in aside if version.digest == digest]
    if aside and not alike and (files := _files(workspace, digest)):
        alike = [version for version in aside if _files(workspace, version.digest) == files]
    return next(iter(alike), None)


def _files(workspace: Workspace, digest: str) -> dict[str, Entry]:
    """Return what a version answers with, which is all of it but its recipe; nothing where that cannot be read."""
    try:
        files = fetch_manifest(workspace.blobs, digest).files
    except AmendsError:
        return {}
    return {name: entry for name, entry in files.items() if name != RECIPE}


def _named(workspace: Workspace, reference: str, reason: str) -> Version:
    if not reason.strip():
        raise BadInput("this needs its reason; give --reason")
    with workspace.database.read() as connection:
        return aliases.resolve_version(connection, reference)


def _check_origin(workspace: Workspace, version: Version) -> None:
    """Refuse to release a version while one that it comes from is set aside: what is wrong there went on to it."""
    with workspace.database.read() as connection:
        line = [above for above in lineage.ancestors(connection, version.digest) if above.digest != version.digest]
    found = [above for above in line if above.status == QUARANTINED]
    if found:
        raise Denied(
            f"{version.name} comes from {found[0].name}, which is quarantined still; "
            f"release that first with `amends models release {found[0].name}`"
        )


def _change(workspace: Workspace, version: Version, status: str, reason: str, actor: str) -> Version:
    with workspace.database.transaction() as connection:
        _check_unchanged(connection, version)
        changed = _write(workspace, connection, version, status, reason, actor)
    _tell_mlflow(workspace, changed)
    return changed


def _write(
    workspace: Workspace, connection: Connection, version: Version, status: str, reason: str, actor: str
) -> Version:
    action = Action.MODEL_QUARANTINED if status == QUARANTINED else Action.MODEL_RELEASED
    body = {"model": version.model, "version": version.number, "digest": version.digest, "reason": reason.strip()}
    times = audit.count(connection, _prefix(version.model, version.number))
    workspace.record(connection, f"{_prefix(version.model, version.number)}{times}", action, body, actor)
    return lineage.set_status(connection, version.model, version.number, status)


def _check_unchanged(connection: Connection, version: Version) -> None:
    now = lineage.get(connection, version.model, version.number).status
    if now != version.status:
        raise Denied(f"{version.name} became {now} meanwhile; look again and decide anew")


def _tell_mlflow(workspace: Workspace, version: Version) -> None:
    """Say it in MLflow as well; where that does not answer, it stands here, and the reconciler says it later."""
    if version.mlflow_version is None:
        return
    said = "yes" if version.status == QUARANTINED else "no"
    try:
        workspace.registry.tag_version(version.model, int(version.mlflow_version), {TAG: said})
    except AmendsError as error:
        workspace.say(f"{version.name} is {version.status}, and MLflow was not told: {error}")


def _prefix(model: str, number: int) -> str:
    return f"quarantine:{model}@{number}:"
