"""One workspace: its settings, keys, database, bytes, registry and scheduler, each opened when first needed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amends import host
from amends.errors import AmendsError, BadInput, Denied
from amends.governor.settings import FILE, TEMPLATE, Settings, read_settings
from amends.governor.webhooks import delivering
from amends.ledger import audit, people
from amends.ledger.actions import Action
from amends.ledger.database import Database
from amends.records import AuditEntry
from amends.store.blobs import Blobs, open_blobs
from amends.store.cache import NodeCache
from amends.vault.keys import Keyring

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from amends.ledger.people import Person
    from amends.ledger.registry import Registry
    from amends.scheduler import Scheduler

Say = Callable[[str], None]
Bar = Callable[[int, int, str], None]


@dataclass
class Workspace:
    """Where Amends keeps everything of one installation.

    Args:
        home: The workspace's directory (`AMENDS_HOME`, by default `./.amends`).
        token: Who acts (`AMENDS_TOKEN`); empty means nobody, who may only look.
        say: Where sentences for people go.
        bar: Where progress goes: done, total, message.
    """

    home: Path
    token: str = field(default="", repr=False)
    say: Say = field(default=lambda sentence: None, repr=False)
    bar: Bar = field(default=lambda done, total, message: None, repr=False)
    has_news: bool = field(default=False, init=False, repr=False)
    _resting: set[str] = field(default_factory=set, init=False, repr=False)

    @cached_property
    def settings(self) -> Settings:
        """What `amends.toml` says."""
        return read_settings(self.home)

    @cached_property
    def keyring(self) -> Keyring:
        """The workspace's private keys."""
        return Keyring.open(self.home / "keys")

    @cached_property
    def database(self) -> Database:
        """The ledger's database, migrated."""
        database = Database(self.settings.database)
        database.migrate()
        return database

    @cached_property
    def blobs(self) -> Blobs:
        """Bytes by digest."""
        return open_blobs(self.settings.blobs)

    @cached_property
    def cache(self) -> NodeCache:
        """This node's copies of those bytes."""
        return NodeCache(self.home / "cache", self.blobs)

    @cached_property
    def registry(self) -> Registry:
        """MLflow."""
        from amends.ledger.guard.writing import Permits
        from amends.ledger.registry import Registry

        permits = Permits(self.keyring) if self.settings.guarded_registry else None
        return Registry(self.settings.mlflow, Path(self.settings.artifacts), permits)

    @cached_property
    def host(self) -> host.Host:
        """The plugins of this installation."""
        return host.current()

    @cached_property
    def scheduler(self) -> Scheduler:
        """Where operations and probes run."""
        from amends.scheduler import open_scheduler

        self.say(f"starting the scheduler ({self.settings.scheduler})")
        return open_scheduler(
            self.settings.scheduler, self.home / "cache", {"cpus": self.settings.cpus, "gpus": self.settings.gpus}
        )

    @cached_property
    def actor(self) -> Person:
        """Who acts, as `AMENDS_TOKEN` says.

        Raises:
            Denied: There is no token, or it names nobody any more.
        """
        if not self.token:
            raise Denied("nobody is signed in; set AMENDS_TOKEN to the token that `amends init` or an admin gave you")
        with self.database.read() as connection:
            return people.authenticate(connection, self.token)

    def require_role(self, *roles: str) -> Person:
        """Return who acts, if they have one of the roles (an admin has all but `dpo`).

        Raises:
            Denied: They have another role.
        """
        person = self.actor
        if person.role not in roles and not (person.role == "admin" and roles != ("dpo",)):
            raise Denied(f"{person.name} is {person.role}; this needs {' or '.join(roles)}: ask an admin")
        return person

    def has_role(self, *roles: str) -> bool:
        """Say whether who acts has one of the roles; nobody who is signed in has none."""
        try:
            self.require_role(*roles)
        except Denied:
            return False
        return True

    def require_unattended_or(self, *roles: str) -> None:
        """Let unattended work pass, where nobody signed in; whoever did must have one of the roles.

        Raises:
            Denied: They have another role, or the token is nobody's.
        """
        if self.token:
            self.require_role(*roles)

    def record(
        self, connection: Connection, id: str, action: Action, body: Mapping[str, Any], actor: str = ""
    ) -> AuditEntry:
        """Append an audit entry in the caller's transaction, once per id."""
        audit.enlist(connection, (receiver.reader for receiver in self.settings.webhooks))
        self.has_news = True
        return audit.append(connection, id=id, actor=actor or self.actor.id, action=action, body=dict(body))

    def tell(self) -> None:
        """Tell every plugin of the entries written since the last time; a failure undoes nothing."""
        with self.database.read() as connection:
            fresh = list(audit.entries(connection, after=audit.position(connection, "plugins")))
        for entry in fresh:
            self.host.recorded(entry)
        if fresh:
            with self.database.transaction() as connection:
                audit.advance(connection, "plugins", fresh[-1].seq)

    def deliver(self) -> None:
        """Tell the receivers of `[[webhooks]]` as well; one that fails is asked again by the next process."""
        self.has_news = False
        awake = [receiver for receiver in self.settings.webhooks if receiver.name not in self._resting]
        try:
            outcomes = delivering.deliver(self.database, awake)
        except AmendsError as error:  # the work is done and written down; what was to be told of it waits
            self.say(f"nobody else was told: {error}")
            return
        for outcome in outcomes:
            if outcome.trouble:
                self._resting.add(outcome.name)
                self.say(f"{outcome.name} was not told: {outcome.trouble}; {outcome.waiting} events wait for it")

    def deliver_news(self) -> None:
        """Tell those receivers if anything was written here since they were told."""
        if self.has_news:
            self.deliver()

    def close(self) -> None:
        """Let go of the scheduler and the database, if they were opened."""
        if "scheduler" in self.__dict__:
            self.scheduler.close()
        if "database" in self.__dict__:
            self.database.close()


def default_home() -> Path:
    """Return `AMENDS_HOME`, or `./.amends`."""
    return Path(os.environ.get("AMENDS_HOME", ".amends")).expanduser().absolute()


def open_workspace(home: Path | None = None, token: str | None = None) -> Workspace:
    """Open an existing workspace.

    Raises:
        BadInput: There is none.
    """
    home = home or default_home()
    if not (home / "keys").is_dir():
        raise BadInput(f"there is no workspace at {home}; run `amends init`, or set AMENDS_HOME")
    return Workspace(home, os.environ.get("AMENDS_TOKEN", "") if token is None else token)


def create_workspace(home: Path | None = None, admin: str = "admin") -> tuple[Workspace, str]:
    """Make a workspace with its keys, database and first admin, and return it with the admin's token.

    Raises:
        BadInput: There is one already.
    """
    home = home or default_home()
    if (home / "keys").exists():
        raise BadInput(f"there is a workspace at {home} already; use it, or set AMENDS_HOME to another place")
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)
    if not (home / FILE).exists():
        (home / FILE).write_text(TEMPLATE, encoding="utf-8")
    Keyring.create(home / "keys")
    workspace = Workspace(home)
    with workspace.database.transaction() as connection:
        token = people.add(connection, admin, "admin")
        person = people.authenticate(connection, token)
        workspace.record(connection, "workspace:created", Action.WORKSPACE_CREATED, {"admin": person.id}, person.id)
    workspace.token = token
    return workspace, token
