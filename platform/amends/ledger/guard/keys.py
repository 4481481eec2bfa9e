"""The public keys that a guarded registry trusts, as its server's environment names them."""

from __future__ import annotations

import os
from pathlib import Path

from amends.errors import BadInput
from amends.vault.public import keyid_of, load_public, pem_of, read_public_keys

VARIABLE = "AMENDS_REGISTRY_KEY"


def registry_keys() -> dict[str, str]:
    """Return the PEM public keys that may sign permits, by name; read anew each time, so that a rotation needs no stop.

    Raises:
        BadInput: None is configured, or what is configured is no key.
    """
    given = os.environ.get("AMENDS_REGISTRY_KEY", "").strip()
    if not given:
        raise BadInput(f"{VARIABLE} is not set; give it the directory that `amends keys show --export` wrote")
    if os.path.exists(given):  # false for what is too long for a path
        return read_public_keys(Path(given))
    pem = f"-----BEGIN PUBLIC KEY-----\n{given}\n-----END PUBLIC KEY-----\n"
    key = load_public(pem, f"{VARIABLE} is neither a path nor base64: it")
    return {keyid_of(key): pem_of(key)}
