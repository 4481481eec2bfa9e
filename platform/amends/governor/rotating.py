"""Change the workspace's keys, and show that what the old ones signed still verifies."""

from __future__ import annotations

from typing import Any

from amends.governor.workspace import Workspace
from amends.ledger import checkpoints
from amends.ledger.actions import Action


def rotate(workspace: Workspace) -> dict[str, Any]:
    """Sign with a new key and wrap every case's and lineage's key under a new vault key, from now on.

    A checkpoint closes the log under the old key, and one under the new key holds both entries of the rotation.
    The keys of pseudonyms, index, suppression and shards stay: what they name would be lost with them.

    Returns:
        The names of the old and new signing key, and how many checkpoints, old and new, still verify.

    Raises:
        Tampered: The log or a wrapped key is not what was written; the failing part was not rotated.
    """
    actor = workspace.require_role("admin")
    keyring = workspace.keyring
    with workspace.database.transaction() as connection:
        closed = checkpoints.checkpoint(connection, keyring)
        checkpoints.verify_checkpoints(connection, keyring.public_keys())
    old, new = keyring.rotate_signing()
    _record(workspace, f"key:signing:{new}", {"key": "signing", "old": old, "new": new}, actor.id)
    keyring.rotate_vault()
    _record(workspace, f"key:vault:{new}", {"key": "vault"}, actor.id)
    with workspace.database.transaction() as connection:
        signed = checkpoints.checkpoint(connection, keyring)
        verified = checkpoints.verify_checkpoints(connection, keyring.public_keys())
    workspace.say(
        f"signing with {new[:12]} from now on; {verified} checkpoints verify, those under {old[:12]} among them"
    )
    return {
        "old": old,
        "new": new,
        "vault": True,
        "closed_at": closed.size,
        "signed_at": signed.size,
        "root": signed.root,
        "verified": verified,
    }


def _record(workspace: Workspace, id: str, body: dict[str, Any], actor: str) -> None:
    with workspace.database.transaction() as connection:
        workspace.record(connection, id, Action.KEY_ROTATED, body, actor)
