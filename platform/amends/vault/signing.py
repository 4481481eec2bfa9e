"""Sign and verify DSSE envelopes (secure-systems-lab/dsse, protocol 1.0) with Ed25519, offline."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature

from amends.errors import Tampered
from amends.vault.keys import Keyring
from amends.vault.public import keyid_of, load_public


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the pre-authentication encoding: the bytes that are really signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(keyring: Keyring, payload_type: str, payload: bytes) -> dict[str, Any]:
    """Return an envelope around `payload`, signed with the keyring's current key."""
    key = keyring.signing_key()
    signature = key.sign(pae(payload_type, payload))
    return {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": payload_type,
        "signatures": [{"keyid": keyid_of(key.public_key()), "sig": base64.b64encode(signature).decode()}],
    }


def verify(envelope: Mapping[str, Any], public_keys: Mapping[str, str], payload_type: str | None = None) -> bytes:
    """Return the payload if at least one of `public_keys` signed it.

    Args:
        envelope: A DSSE envelope as parsed JSON.
        public_keys: PEM public keys by name, as `Keyring.public_keys` or `read_public_keys` give them.
        payload_type: What the payload must claim to be, or None for anything.

    Raises:
        Tampered: It is no envelope, none of the keys signed it, or its type differs.
    """
    try:
        kind = str(envelope["payloadType"])
        payload = _decode(envelope["payload"])
        signatures = [(str(each.get("keyid", "")), _decode(each["sig"])) for each in envelope["signatures"]]
    except (KeyError, TypeError, AttributeError, ValueError):
        raise Tampered("this is no DSSE envelope any more; fetch it again from where it was published") from None
    if payload_type is not None and kind != payload_type:
        raise Tampered(f"the envelope holds {kind!r}, not {payload_type!r}; give the file that was asked for")
    signed = pae(kind, payload)
    if not any(_fits(pem, signature, signed) for pem, signature in _candidates(signatures, public_keys)):
        raise Tampered("the envelope is not signed by any of these keys; it was changed, or another key is needed")
    return payload


def _candidates(signatures: list[tuple[str, bytes]], keys: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """Yield keys with the signatures they may have made: `keyid` is only a hint, so an unknown one tries them all."""
    for keyid, signature in signatures:
        for pem in [keys[keyid]] if keyid in keys else keys.values():
            yield pem, signature


def _fits(pem: str, signature: bytes, signed: bytes) -> bool:
    try:
        load_public(pem, "a public key").verify(signature, signed)
    except InvalidSignature:
        return False
    return True


def _decode(text: str) -> bytes:
    """Decode standard or URL-safe base64, as the protocol allows both."""
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
