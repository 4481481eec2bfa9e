"""Seal records so that equal records give equal bytes: a file of them keeps its digest as its name.

AES-SIV (RFC 5297) is deterministic: who sees two sealed files learns whether they are the same, and nothing else. A
random nonce, as `ciphers` has it, would give the same records another digest at each registration. The name of the key
stands in the clear before the sealed bytes and is authenticated with them.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from amends.errors import Tampered

MAGIC = b"amends sealed records 1\n"
_SIV_BYTES = 64  # AES-256-SIV takes two keys of 32 bytes


def seal_records(key: bytes, name: str, data: bytes) -> bytes:
    """Return records sealed under a key; the same records under the same key give the same bytes.

    Args:
        key: 32 bytes from the keyring.
        name: Of the key, so that whoever holds the keyring finds it.
        data: The records, not empty.
    """
    head = MAGIC + name.encode() + b"\n"
    return head + _cipher(key).encrypt(data, [head])


def key_name_of(data: bytes) -> str:
    """Return the name of the key that bytes are sealed under, empty where they are no sealed records."""
    if not data.startswith(MAGIC):
        return ""
    return data[len(MAGIC) :].partition(b"\n")[0].decode(errors="replace")


def open_records(key: bytes, data: bytes) -> bytes:
    """Return what `seal_records` was given for the same key.

    Raises:
        Tampered: The bytes were changed, or belong to another key.
    """
    name, _, sealed = data[len(MAGIC) :].partition(b"\n")
    try:
        return _cipher(key).decrypt(sealed, [MAGIC + name + b"\n"])
    except (InvalidTag, ValueError):
        raise Tampered("sealed records do not open with their key; restore them from a backup") from None


def _cipher(key: bytes) -> AESSIV:
    return AESSIV(HKDF(SHA512(), _SIV_BYTES, None, b"amends sealed records").derive(key))
