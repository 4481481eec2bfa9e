"""Permits: one decided call on the registry, signed, for a short time, once."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from amends.errors import Tampered
from amends.ledger.columns import now, stamp
from amends.records import canonical_json, digest_of
from amends.vault.keys import Keyring
from amends.vault.signing import sign, verify

OURS = "amends."
"""How the keys of tags begin that only Amends may write."""
PREFIX = "amends.permit."
TYPE = "application/vnd.amends.permit+json"
LIFETIME = timedelta(minutes=2)
LONGEST = timedelta(minutes=10)
"""How far ahead a permit may expire: two clocks may differ, and nobody can keep one for later."""


@dataclass(frozen=True)
class Call:
    """One guarded call as both sides name it.

    Args:
        action: The name of MLflow's method, such as `set_registered_model_alias`.
        model: The registered model.
        version: MLflow's number, or empty where the call names none.
        about: The alias, the tag's key, the stage, the new name, or the source of a new version.
        value: The digest of what is written, or empty where nothing is.
    """

    action: str
    model: str
    version: str = ""
    about: str = ""
    value: str = ""


@dataclass(frozen=True)
class Permit:
    """A call that was decided; `decision` says by what, for whoever reads the server's log."""

    call: Call
    nonce: str
    expires: datetime
    decision: str = ""


def value_of(written: Any) -> str:
    """Return the digest that a permit holds of what a call writes."""
    return digest_of(written)


def ours_of(tags: Mapping[str, str]) -> dict[str, str]:
    """Return those tags that only Amends may write."""
    return {key: str(value) for key, value in tags.items() if key.startswith(OURS)}


def issue(keyring: Keyring, call: Call, decision: str = "", expires: datetime | None = None) -> tuple[str, str]:
    """Sign a permit and return it as a tag: its key and its value."""
    nonce = secrets.token_hex(16)
    until = expires or now() + LIFETIME
    payload = {"call": asdict(call), "decision": decision, "expires": stamp(until), "nonce": nonce}
    return PREFIX + nonce, json.dumps(sign(keyring, TYPE, canonical_json(payload)))


def read(key: str, value: str, public_keys: Mapping[str, str], at: datetime | None = None) -> Permit:
    """Return the permit in a tag if one of the keys signed it and its time has not run out.

    Raises:
        Tampered: It is no permit, or not for now.
    """
    try:
        envelope = json.loads(value)
    except ValueError:
        raise Tampered("this is no permit; only Amends writes them") from None
    payload = json.loads(verify(envelope, public_keys, TYPE))
    permit = Permit(
        Call(**payload["call"]), payload["nonce"], datetime.fromisoformat(payload["expires"]), payload["decision"]
    )
    moment = at or now()
    if key != PREFIX + permit.nonce:
        raise Tampered("the permit stands under another's name; write it as it was issued")
    if not moment < permit.expires <= moment + LONGEST:
        raise Tampered("the permit has expired, or two clocks differ by minutes; set both clocks and try again")
    return permit
