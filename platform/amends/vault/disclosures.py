"""Keep a subject's identifiers encrypted under the key of their case, so that a killed purge can resume."""

from __future__ import annotations

import json

from amends.records import DataSubject, Disclosure, canonical_json
from amends.vault.ciphers import seal, unseal

_CONTEXT = "disclosure"


def seal_disclosure(key: bytes, disclosure: Disclosure) -> bytes:
    """Encrypt a disclosure under a case's key."""
    identifiers = {kind: list(values) for kind, values in disclosure.identifiers.items()}
    value = {"subject": disclosure.subject.pseudonym, "identifiers": identifiers}
    return seal(key, canonical_json(value), _CONTEXT)


def open_disclosure(key: bytes, blob: bytes) -> Disclosure:
    """Decrypt a disclosure.

    Raises:
        Tampered: The blob was changed or belongs to another case.
    """
    value = json.loads(unseal(key, blob, _CONTEXT))
    identifiers = {kind: tuple(values) for kind, values in value["identifiers"].items()}
    return Disclosure(DataSubject(value["subject"]), identifiers)
