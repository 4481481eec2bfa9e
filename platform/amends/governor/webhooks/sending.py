"""Post one message, some times over; every failure becomes a few words that name no address."""

from __future__ import annotations

import time
from collections.abc import Sequence
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from amends.errors import BadInput
from amends.governor.webhooks.messages import Message
from amends.governor.webhooks.receivers import Receiver

TIMEOUT_SECONDS = 5.0
PAUSES = (1.0, 3.0)
"""Seconds before each further attempt."""

_PASSING = (408, 425, 429)  # beside every 5xx: what another attempt may mend


class _Stay(HTTPRedirectHandler):
    """Follows no redirect: what is signed for one address goes to no other."""

    def redirect_request(self, *asked: Any, **more: Any) -> None:
        """Refuse."""


def send(receiver: Receiver, message: Message, pauses: Sequence[float] | None = None) -> str:
    """Send a message until it is taken or the attempts are used up; return why it was not taken, or nothing.

    Args:
        receiver: Who is told.
        message: What.
        pauses: Seconds to wait before each further attempt, `PAUSES` unless given.
    """
    try:
        secret = receiver.secret()
    except BadInput as error:
        return str(error)
    for pause in (*(PAUSES if pauses is None else pauses), None):
        trouble, may_pass = _attempt(receiver, message, secret)
        if not trouble or not may_pass or pause is None:
            break
        time.sleep(pause)
    return trouble


def _attempt(receiver: Receiver, message: Message, secret: bytes) -> tuple[str, bool]:
    """Post once and return what went wrong, and whether that may pass."""
    headers = {"User-Agent": "amends", **message.headers(secret, int(time.time()))}
    request = Request(receiver.url, data=message.body, headers=headers, method="POST")
    try:
        with build_opener(_Stay).open(request, timeout=TIMEOUT_SECONDS):
            return "", False
    except HTTPError as error:
        with error:
            return f"it answered {error.code}", error.code >= 500 or error.code in _PASSING
    except (OSError, HTTPException, ValueError) as error:
        cause = error.reason if isinstance(error, URLError) else error
        return f"it cannot be reached ({type(cause).__name__})", True
