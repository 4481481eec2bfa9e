"""Seal bytes under a key and a context, so that they open nowhere else."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from amends.errors import BadInput, Tampered

KEY_BYTES = 32
_NONCE_BYTES = 12
_LONGEST = 2**31 - 2**10


def new_key() -> bytes:
    """Return a random AES-256 key."""
    return os.urandom(KEY_BYTES)


def seal(key: bytes, data: bytes, context: str) -> bytes:
    """Encrypt with AES-256-GCM under a random nonce; the nonce comes first in the result.

    Args:
        key: 32 bytes.
        data: What to keep secret, up to 2 GiB.
        context: What the bytes are for; it is authenticated, not stored, so that a blob cannot stand in for another.

    Raises:
        BadInput: The key has another length, or the data is too long for one blob.
    """
    if len(data) > _LONGEST:
        raise BadInput(f"{context}: {len(data)} bytes cannot be sealed in one blob; split them below 2 GiB")
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + _cipher(key).encrypt(nonce, data, context.encode())


def unseal(key: bytes, blob: bytes, context: str) -> bytes:
    """Decrypt what `seal` returned for the same key and context.

    Raises:
        Tampered: The blob was changed, or belongs to another key or context.
    """
    try:
        return _cipher(key).decrypt(blob[:_NONCE_BYTES], blob[_NONCE_BYTES:], context.encode())
    except (InvalidTag, ValueError):
        raise Tampered(
            f"{context}: the sealed bytes do not open with this key; they were changed or belong elsewhere"
        ) from None


def _cipher(key: bytes) -> AESGCM:
    if len(key) != KEY_BYTES:
        raise BadInput(f"a sealing key has {KEY_BYTES} bytes, not {len(key)}; take one from the keyring")
    return AESGCM(key)
