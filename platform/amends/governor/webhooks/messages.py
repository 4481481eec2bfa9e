"""What a receiver is sent: a name for the event, a body without personal data, and a signature over both."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from amends.ledger.actions import Action
from amends.records import AuditEntry, canonical_json

FACTS = (
    "alias", "allowed", "attempt", "certificate", "clean", "decision", "digest", "due_at", "guarantee", "kind", "lead",
    "model", "new", "old", "outcome", "plan", "policy", "records", "step", "version",
)  # fmt: skip
"""What of an entry's body is sent: names of models and aliases, numbers, digests; no pseudonym of anybody."""

_LONGEST = 200
_BY_CASES = (Action.ALIAS_MOVED, Action.ALIAS_WITHDRAWN)
"""What only a case does, beside the actions `case:*`: their ids begin with it too."""


@dataclass(frozen=True)
class Message:
    """One event as it is sent; `id` is the audit entry's, the same however often it is sent."""

    id: str
    event: str
    body: bytes

    def headers(self, secret: bytes, timestamp: int) -> dict[str, str]:
        """Return the headers of one attempt.

        Args:
            secret: Shared with the receiver.
            timestamp: Of this attempt, in seconds since 1970, so that a receiver can refuse what is old.
        """
        key = quote(self.id, safe=":/@._-+")
        return {
            "Content-Type": "application/json",
            "Idempotency-Key": key,
            "X-Amends-Event": self.event,
            "X-Amends-Timestamp": str(timestamp),
            "X-Amends-Signature": signature(secret, key, timestamp, self.body),
        }


def signature(secret: bytes, id: str, timestamp: int, body: bytes) -> str:
    """Return `v1,` and the base64 HMAC-SHA256 of `id.timestamp.body`, as the receiver computes it too."""
    signed = b".".join((id.encode(), str(timestamp).encode(), body))
    return "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()


def event_of(action: str) -> str:
    """Return an action's name as an event: `case:plan:made` is `case.plan.made`, `model:alias:moved` `alias.moved`."""
    return action.removeprefix("model:").replace(":", ".")


EVENTS = tuple(sorted(event_of(action) for action in Action))


def message_of(entry: AuditEntry) -> Message:
    """Return what receivers are told of an audit entry."""
    event = event_of(entry.action)
    said = {"id": entry.id, "event": event, "at": entry.at, "entry": entry.seq, "hash": entry.hash}
    return Message(entry.id, event, canonical_json({**said, "case": _case(entry), "facts": _facts(entry.body)}))


def trial(id: str, at: str) -> Message:
    """Return a message about nothing, to try a receiver with."""
    event = "webhooks.test"
    return Message(id, event, canonical_json({"id": id, "event": event, "at": at, "facts": {}}))


def _case(entry: AuditEntry) -> str | None:
    is_of_case = entry.action.startswith("case:") or entry.action in _BY_CASES
    return entry.id.partition(":")[0] if is_of_case else None


def _facts(body: Mapping[str, object]) -> dict[str, object]:
    plain = {key: body[key] for key in FACTS if key in body}
    return {key: value for key, value in plain.items() if isinstance(value, int | str) and len(str(value)) <= _LONGEST}
