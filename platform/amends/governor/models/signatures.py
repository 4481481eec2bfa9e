"""The workspace's signature over each version that it registered: one DSSE envelope by digest, outside the version."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from amends.errors import Tampered
from amends.governor.workspace import Workspace
from amends.records import canonical_json
from amends.vault import signing

PAYLOAD_TYPE = "application/vnd.amends.version+json"


def signature_file(workspace: Workspace, digest: str) -> Path:
    """Return where the signature over a version lies; it outlives the version, as its digest does."""
    return workspace.home / "signatures" / f"{digest}.dsse.json"


def sign_version(workspace: Workspace, digest: str) -> None:
    """Sign a version's digest, which is that of its manifest; one that is signed already keeps its signature."""
    file = signature_file(workspace, digest)
    if file.exists() and is_signed(workspace, digest):
        return
    file.parent.mkdir(mode=0o700, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_bytes(canonical_json(signing.sign(workspace.keyring, PAYLOAD_TYPE, _payload(digest))))
    partial.replace(file)


def is_signed(workspace: Workspace, digest: str, keys: Mapping[str, str] | None = None) -> bool:
    """Whether a key of this workspace signed this very digest; what cannot be read was not signed.

    Args:
        workspace: Whose signature.
        digest: The version's.
        keys: Its public keys, where they were read already.
    """
    try:
        envelope = json.loads(signature_file(workspace, digest).read_bytes())
        trusted = workspace.keyring.public_keys() if keys is None else keys
        return signing.verify(envelope, trusted, PAYLOAD_TYPE) == _payload(digest)
    except (OSError, ValueError, Tampered):
        return False


def _payload(digest: str) -> bytes:
    return canonical_json({"schema": 1, "manifest": digest})
