"""Whom to tell of what: the `[[webhooks]]` tables of `amends.toml`, checked when they are read."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

from amends.errors import BadInput
from amends.governor.webhooks.messages import EVENTS

KINDS: Mapping[str, type] = {"url": str, "secret_env": str, "events": list, "name": str, "allow_http": bool}
LEAST_SECRET = 16
"""Letters that a secret must have at least."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


@dataclass(frozen=True)
class Receiver:
    """One system that is told; its address may hold a token, so only `place` is ever shown.

    Args:
        name: What people call it; its place in the log is kept under this name.
        url: Where it listens.
        secret_env: The environment variable with the secret that signs.
        events: Patterns such as `case.*`.
    """

    name: str
    url: str = field(repr=False)
    secret_env: str
    events: tuple[str, ...] = ("case.*", "alias.*", "version.*")

    @property
    def reader(self) -> str:
        """The name of its place in the audit log."""
        return f"webhook:{self.name}"

    @property
    def place(self) -> str:
        """Its scheme and host, without the rest of the address."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")

    def wants(self, event: str) -> bool:
        """Whether it is to be told of an event."""
        return any(fnmatchcase(event, pattern) for pattern in self.events)

    def secret(self) -> bytes:
        """Return the secret that signs what it is sent.

        Raises:
            BadInput: The variable is not set, or holds too little to be one.
        """
        found = os.environ.get(self.secret_env, "")
        if len(found) < LEAST_SECRET:
            raise BadInput(f"{self.secret_env} must hold the secret of {self.name}, {LEAST_SECRET} letters or more")
        return found.encode()


def read_receivers(given: Any, where: str) -> tuple[Receiver, ...]:
    """Return the receivers of a settings file.

    Args:
        given: What stands under `webhooks`.
        where: The file, for the sentence.

    Raises:
        BadInput: A table has an unknown or ill-typed key, an address that will not do, or an event there is none of.
    """
    if not isinstance(given, list) or not all(isinstance(table, dict) for table in given):
        raise BadInput(f"{where}: webhooks must be [[webhooks]] tables; see docs/webhooks.md")
    found = tuple(_receiver(table, f"{where}, webhook {number}") for number, table in enumerate(given, start=1))
    names = [receiver.name for receiver in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise BadInput(f"{where}: two webhooks are called {twice!r}; give each a name of its own")
    return found


def _receiver(table: Mapping[str, Any], where: str) -> Receiver:
    for key, value in table.items():
        if key not in KINDS:
            raise BadInput(f"{where} has an unknown key {key!r}; it may have {', '.join(KINDS)}")
        if not isinstance(value, KINDS[key]):
            raise BadInput(f"{where}: {key} must be {KINDS[key].__name__}, not {type(value).__name__}")
    for key in ("url", "secret_env"):
        if not table.get(key):
            raise BadInput(f"{where} needs a {key}")
    host = _checked_host(table["url"], table.get("allow_http", False), where)
    name = table.get("name", host)
    if not _NAME.fullmatch(name):
        raise BadInput(f"{where}: a name must be letters, digits and ._- only, at most 80")
    return Receiver(name, table["url"], table["secret_env"], _checked_events(table.get("events"), where))


def _checked_host(url: str, allow_http: bool, where: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port  # reading the port checks it
    except ValueError:
        host = None
    if not host or parts.username is not None or parts.fragment or not url.isascii() or " " in url:
        raise BadInput(f"{where}: url must be an address such as https://host/path, without a password in it")
    if parts.scheme != "https" and not (parts.scheme == "http" and allow_http):
        raise BadInput(f"{where}: url must begin with https://; where http is safe, set allow_http = true")
    return host


def _checked_events(given: Any, where: str) -> tuple[str, ...]:
    if given is None:
        return Receiver.events
    for pattern in given:
        if not isinstance(pattern, str) or not any(fnmatchcase(event, pattern) for event in EVENTS):
            raise BadInput(f"{where}: no event is called {pattern!r}; there are {', '.join(EVENTS)}")
    if not given:
        raise BadInput(f"{where} wants no event; name some, such as case.*, or take it out")
    return tuple(given)
