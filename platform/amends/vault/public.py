"""Public Ed25519 keys: how they are named, and how they lie in files that anyone may read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from amends.errors import BadInput


def keyid_of(key: Ed25519PublicKey) -> str:
    """Return a public key's name: the sha256 of its DER form, in hex."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def pem_of(key: Ed25519PublicKey) -> str:
    """Return a public key in PEM."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def load_public(pem: str, where: str) -> Ed25519PublicKey:
    """Read a PEM public key.

    Raises:
        BadInput: It is no Ed25519 public key; the sentence says `where`.
    """
    try:
        key = load_pem_public_key(pem.encode())
    except ValueError:
        raise BadInput(f"{where} is no public key in PEM; export one with the keyring that signed") from None
    if not isinstance(key, Ed25519PublicKey):
        raise BadInput(f"{where} is no Ed25519 key; export one with the keyring that signed")
    return key


def read_public_keys(path: Path) -> dict[str, str]:
    """Return public keys by their names, from a PEM file or from every PEM file of a directory.

    A key's name is computed from the key, never taken from its file's name.

    Raises:
        BadInput: There is no key, or a file is not one.
    """
    files = sorted(path.glob("*.pem")) if path.is_dir() else [path]
    keys = {}
    for file in files:
        try:
            key = load_public(file.read_text(encoding="ascii"), str(file))
        except (OSError, UnicodeDecodeError):
            raise BadInput(f"{file} cannot be read as a public key; give a PEM file or a directory of them") from None
        keys[keyid_of(key)] = pem_of(key)
    if not keys:
        raise BadInput(f"{path} holds no public key; give a PEM file or a directory of them")
    return keys


def write_public_keys(keys: Mapping[str, str], directory: Path) -> Path:
    """Write each public key as `KEYID.pem` into a directory and return it."""
    directory.mkdir(parents=True, exist_ok=True)
    for keyid, pem in keys.items():
        (directory / f"{keyid}.pem").write_text(pem, encoding="ascii")
    return directory
