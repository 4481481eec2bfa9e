"""Take in the bundle of a case from elsewhere: verified with keys got by another way, kept read-only, and entered."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amends.errors import BadInput, Tampered
from amends.governor.proof import standalone
from amends.governor.workspace import Workspace
from amends.ledger import audit
from amends.ledger.actions import Action

READERS = ("auditor", "dpo", "operator")
IMPORTED = "imported"


def verify_bundle(file: Path, public_keys: Mapping[str, str], name: str = "") -> dict[str, Any]:
    """Check a bundle by the script that it carries a copy of, with keys that were got by another way.

    Args:
        file: The zip file, or the folder that it was unpacked into.
        public_keys: PEM public keys by name.
        name: What people call the file, where that is another name.

    Raises:
        BadInput: The file is no bundle.
        Tampered: A check does not hold; the sentence names the first.
    """
    name = name or file.name
    try:
        files = standalone.read_bundle(file)
        digest = standalone.sha256(file.read_bytes()) if file.is_file() else None
    except FileNotFoundError:
        raise BadInput(f"there is no file {file}; name the bundle, or the folder it was unpacked into") from None
    except (standalone.Failed, *standalone.UNREADABLE):
        raise BadInput(f"{name} is no bundle of a case; write one with amends bundle export") from None
    keys = standalone.read_keys({name: pem.encode() for name, pem in public_keys.items()})
    checks = list(standalone.check_bundle(files, keys))
    failed = [sentence for holds, sentence in checks if not holds]
    if failed:
        raise Tampered(f"{name} is not what was exported: {failed[0]}; get it again")
    case = standalone.Bundle(files, keys).json("case.json")
    shown = {name: case[name] for name in ("id", "kind", "model", "status", "outcome")}
    return {**shown, "sha256": digest, "checks": [sentence for _, sentence in checks]}


def import_bundle(workspace: Workspace, file: Path, public_keys: Mapping[str, str]) -> dict[str, Any]:
    """Keep a verified bundle from elsewhere, read-only, and enter it in the audit log; done twice, it is there once.

    Raises:
        BadInput: The file is no bundle.
        Tampered: It is not what was exported.
        Denied: Who acts neither answers requests nor audits.
    """
    actor = workspace.require_role(*READERS)
    folder = workspace.home / IMPORTED
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        draft = _copy(file, folder)  # what is kept is what was verified, whatever happens to the file meanwhile
    except OSError as error:
        raise BadInput(f"{file} cannot be read or kept ({error.strerror}); give the bundle itself, a file") from None
    try:
        found = verify_bundle(draft, public_keys, file.name)
        kept = folder / f"{found['sha256']}.zip"
        draft.replace(kept)
    finally:
        draft.unlink(missing_ok=True)
    body = {"bundle": found["sha256"], "case": found["id"], "model": found["model"], "status": found["status"]}
    with workspace.database.transaction() as connection:
        key = f"imported:{found['sha256']}:{actor.id}"
        workspace.record(connection, key, Action.BUNDLE_IMPORTED, body, actor.id)
    return {**found, "file": str(kept)}


def imported(workspace: Workspace) -> list[dict[str, Any]]:
    """Return the bundles that were taken in, oldest first, and whether each file still is the one that was verified."""
    with workspace.database.read() as connection:
        found = [entry for entry in audit.entries(connection) if entry.action == Action.BUNDLE_IMPORTED]
    return [{**entry.body, "at": entry.at, "is_sound": _is_sound(workspace, entry.body["bundle"])} for entry in found]


def _is_sound(workspace: Workspace, digest: str) -> bool:
    file = workspace.home / IMPORTED / f"{digest}.zip"
    return file.is_file() and standalone.sha256(file.read_bytes()) == digest


def _copy(file: Path, folder: Path) -> Path:
    """Return a read-only copy of a file under a name of its own."""
    handle, draft = tempfile.mkstemp(prefix=".bundle-", dir=folder)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(file.read_bytes())
        os.chmod(draft, 0o400)
    except OSError:
        Path(draft).unlink(missing_ok=True)
        raise
    return Path(draft)
