"""Hand a version out in PEFT's layout, and remember who has it: an erasure has to tell them."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path
from typing import Any

from amends.errors import BadInput
from amends.governor.models.asking import served_version, verified_tree
from amends.governor.workspace import Workspace
from amends.ledger import inventory, lineage
from amends.ledger.actions import Action
from amends.ledger.inventory import Recipient
from amends.ledger.lineage import Version

WHAT = "PEFT export"


def export(workspace: Workspace, reference: str, destination: Path) -> dict[str, Any]:
    """Write base, adapters and a router without names to a new directory, and enter it as a recipient.

    Args:
        workspace: Where the version is.
        reference: `model@alias`, `model@number`, or `model` for its champion.
        destination: A new or empty directory outside the workspace.

    Raises:
        BadInput: The destination holds something, lies in the workspace, or has no room.
        Denied: The version is sealed or quarantined.
        DigestMismatch: A file of the version is not what its manifest says.
    """
    from amends.serving.exporting import export_peft

    actor = workspace.require_role("operator", "ml-engineer")
    destination = destination.expanduser().absolute()
    check_free(workspace, destination)
    version = served_version(workspace, reference)
    where = place_mac(workspace, destination)
    staged = destination.with_name(f".{destination.name}.{os.getpid()}.export")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        export_peft(verified_tree(workspace, version.digest), staged)
        size, files = _measure(staged)
        body = {"version": str(version.name), "digest": version.digest, "where": where}
        with (
            workspace.database.transaction() as connection
        ):  # before it is there: too many are told rather than too few
            inventory.add_recipient(connection, version.digest, WHAT, where)
            workspace.record(connection, f"export:{secrets.token_hex(8)}", Action.MODEL_EXPORTED, body, actor.id)
        os.replace(staged, destination)
    except OSError as error:
        raise BadInput(f"cannot write {destination} ({error.strerror}); name another directory") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return {**body, "destination": str(destination), "files": files, "bytes": size}


def check_free(workspace: Workspace, destination: Path) -> None:
    """Refuse a place that holds something, or that lies in the workspace, where it would be backed up and scanned.

    Raises:
        BadInput: It does.
    """
    if destination.resolve().is_relative_to(workspace.home.resolve()):
        raise BadInput(f"{destination} lies in the workspace; name a place outside {workspace.home}")
    if destination.is_symlink() or (destination.exists() and not destination.is_dir()):
        raise BadInput(f"{destination} is not a directory; name a new one")
    if destination.exists() and any(destination.iterdir()):
        raise BadInput(f"{destination} is not empty; name a new directory")


def place_mac(workspace: Workspace, place: Path) -> str:
    """Return the keyed hash that stands for a place in the ledger: whoever names the place again can check it."""
    return workspace.keyring.mac("index/recipient", str(place))


def _measure(directory: Path) -> tuple[int, int]:
    files = [path for path in directory.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files), len(files)


def recipients_of(workspace: Workspace, model: str = "") -> list[dict[str, Any]]:
    """Return what was handed out, oldest first, and whether an erasure waits for word from there.

    Args:
        workspace: Where the versions are.
        model: Only versions of this model.
    """
    with workspace.database.read() as connection:
        alive = lineage.versions_of(connection, model or None)
        names = {version.digest: version for version in alive}
        told = inventory.recipients_of(connection, list(names))
    return [_told(one, names[one.version]) for one in told]


def confirm_replaced(workspace: Workspace, id: int) -> dict[str, Any]:
    """Record that a recipient said they replaced or deleted what they were handed; again changes nothing.

    Raises:
        BadInput: There is no such recipient.
    """
    actor = workspace.require_role("dpo", "operator")
    with workspace.database.transaction() as connection:
        found = inventory.recipient(connection, id)
        version = lineage.by_digest(connection, found.version)[0]
        inventory.mark_told(connection, id)
        body = {"version": str(version.name), "digest": version.digest, "where": found.where_digest}
        workspace.record(connection, f"recipient:{id}:confirmed", Action.RECIPIENT_CONFIRMED, body, actor.id)
        return _told(inventory.recipient(connection, id), version)


def _told(recipient: Recipient, version: Version) -> dict[str, Any]:
    return {
        **{"id": recipient.id, "version": str(version.name), "status": str(version.status), "what": recipient.what},
        **{"where": recipient.where_digest, "at": recipient.at, "confirmed_at": recipient.told_at},
        "is_open": version.status != "active" and recipient.told_at is None,
    }
