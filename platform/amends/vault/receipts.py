"""Receipts: what lets a subject, and nobody else, prove which certificate is theirs.

The certificate holds a commitment, an HMAC keyed by a random nonce over the case and the subject's primary identifier.
The nonce is given to the subject and kept nowhere, so the commitment tells nobody anything; with it, the subject's
name and the certificate, anyone whom the subject asks can check the link offline.
"""

from __future__ import annotations

import hmac
import os

from amends.errors import BadInput
from amends.vault.forms import identity
from amends.vault.hashes import keyed_hash
from amends.vault.subjects import Identifiers, primary

_NONCE_BYTES = 32
_DOMAIN = "amends receipt"


def new_receipt(case_id: str, identifiers: Identifiers) -> tuple[str, str]:
    """Return a fresh nonce for the subject and the commitment for the certificate, both in hex.

    Raises:
        BadInput: No identifier has a letter or a digit.
    """
    nonce = os.urandom(_NONCE_BYTES)
    return nonce.hex(), keyed_hash(nonce, _DOMAIN, case_id, primary(identifiers))


def check_receipt(nonce: str, case_id: str, identifiers: Identifiers, commitment: str) -> bool:
    """Whether a nonce ties a person to the certificate of a case.

    Args:
        nonce: What the subject was given.
        case_id: The case that the certificate names.
        identifiers: What the person is called; any one that is their primary identifier will do.
        commitment: What the certificate holds.

    Raises:
        BadInput: The nonce is no receipt's.
    """
    try:
        key = bytes.fromhex(nonce.strip())
    except ValueError:
        key = b""
    if len(key) != _NONCE_BYTES:
        raise BadInput(f"a receipt has {2 * _NONCE_BYTES} hex digits; copy it again from where it was given to you")
    claims = {identity(kind, value) for kind, values in identifiers.items() for value in values}
    return any(
        hmac.compare_digest(keyed_hash(key, _DOMAIN, case_id, claim).encode(), commitment.lower().encode())
        for claim in sorted(claims)
    )
