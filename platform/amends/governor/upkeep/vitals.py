"""What a workspace needs to live: settings, keys, database, log, bytes, registry, scheduler, room; each looked at."""

from __future__ import annotations

import importlib.util
import os
import shutil
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from amends.errors import BadInput
from amends.governor.settings import FILE
from amends.governor.webhooks.delivering import waiting
from amends.governor.workspace import Workspace
from amends.ledger import audit, checkpoints, migrations
from amends.ledger.database import Database
from amends.ledger.guard.writing import is_guarded
from amends.ledger.tracking import answering
from amends.store.blobs import LocalBlobs
from amends.vault.keyfiles import check_private, check_tree

LEAST_DISK_GB = 5.0
SCHEDULERS = ("inline", "ray")


class State(StrEnum):
    """How something was found."""

    OK = "ok"
    WARN = "warn"
    BROKEN = "broken"


@dataclass(frozen=True)
class Finding:
    """What one look found, and the way out where something has to be done."""

    state: State
    sentence: str
    mend: str = ""


def ok(sentence: str) -> Finding:
    """Return that all is well."""
    return Finding(State.OK, sentence)


def warn(sentence: str, mend: str) -> Finding:
    """Return that something should be done."""
    return Finding(State.WARN, sentence, mend)


def broken(sentence: str, mend: str) -> Finding:
    """Return that something has to be done first."""
    return Finding(State.BROKEN, sentence, mend)


def look_at_settings(workspace: Workspace) -> Finding:
    """Read `amends.toml`."""
    settings = workspace.settings
    if settings.scheduler not in SCHEDULERS:
        return broken(
            f"{workspace.home / FILE}: there is no scheduler {settings.scheduler!r}",
            f"set scheduler to {' or '.join(SCHEDULERS)}",
        )
    if not settings.jurisdiction and settings.regime == "gdpr":
        return warn(
            "no jurisdiction is set, so a GDPR request has to name one",
            f'add jurisdiction = "DE", or your country, to {workspace.home / FILE}',
        )
    return ok(f"regime {settings.regime}, {settings.jurisdiction or 'no jurisdiction'}, {settings.cpus} cores")


def look_at_keys(workspace: Workspace) -> Finding:
    """Check that every key is there and readable by its owner only, without opening any."""
    keys = workspace.home / "keys"
    check_private(keys)
    check_tree(keys)
    count = len(workspace.keyring.public_keys())
    return ok(f"private, {count} public {'key' if count == 1 else 'keys'}")


def look_at_database(workspace: Workspace) -> Finding:
    """Open the database as it is; nothing is created or migrated."""
    url = workspace.settings.database
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).is_file():
        return broken("the database is not there", "restore the workspace from a backup with `amends restore`")
    database = Database(url)
    try:
        with database.read() as connection:
            found = migrations.version_of(connection)
            sound = connection.exec_driver_sql("PRAGMA integrity_check").scalar() if database.is_sqlite else "ok"
    finally:
        database.close()
    if sound != "ok":
        return broken("the database file is damaged", "restore the workspace from a backup with `amends restore`")
    if found > migrations.HEAD:
        return broken(f"the database has schema {found}, this release knows {migrations.HEAD}", "upgrade Amends")
    if found < migrations.HEAD:
        return warn(
            f"the database has schema {found}, this release writes {migrations.HEAD}",
            "make a backup; any command that writes upgrades it",
        )
    return ok(f"{'SQLite' if database.is_sqlite else 'PostgreSQL'}, schema {found}, sound")


def look_at_audit(workspace: Workspace) -> Finding:
    """Check every link of the audit log and every signed root."""
    with workspace.database.read() as connection:
        entries = audit.verify_chain(connection)
        signed = checkpoints.verify_checkpoints(connection, workspace.keyring.public_keys())
        latest = checkpoints.latest(connection)
    covered = latest.size if latest is not None else 0
    return ok(f"{entries} entries are chained, {covered} of them under {signed} signed checkpoints")


def look_at_blobs(workspace: Workspace) -> Finding:
    """List the store, and what was set aside in it."""
    blobs = workspace.blobs
    aside = blobs.quarantined()
    if aside:
        return broken(
            f"{len(aside)} blobs had changed and were set aside, the first is {aside[0][:12]}",
            "restore the workspace from a backup with `amends restore`; what needs them is refused until then",
        )
    if isinstance(blobs, LocalBlobs) and blobs.root.exists() and not os.access(blobs.root, os.R_OK | os.W_OK | os.X_OK):
        return broken(f"{blobs.root} cannot be read and written", f"run: chmod u+rwx {blobs.root}")
    count = sum(1 for _ in blobs.digests())
    return ok(f"{count} blobs, none set aside")


def look_at_mlflow(workspace: Workspace) -> Finding:
    """Ask MLflow for an experiment; a database that is not there yet is not made."""
    uri = workspace.settings.mlflow
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():
        return ok("no database yet, it is made with the first model")
    with answering("experiments"):
        found = workspace.registry.client.search_experiments(max_results=50)
    return ok(f"{'server' if workspace.registry.is_server else 'database'} answers, {len(found)} experiments")


def look_at_guard(workspace: Workspace) -> Finding:
    """Say whether an MLflow server refuses what Amends did not decide, and takes what it did."""
    registry, is_wanted = workspace.registry, workspace.settings.guarded_registry
    with answering("registered models"):
        found = registry.client.search_registered_models(max_results=1)
        if not found:
            return ok("no model yet to ask about")
        is_there = is_guarded(registry.client, found[0].name)
    if is_there and registry.permits is not None:
        registry.permits.prove(registry.client, found[0].name)
        return ok("the registry is guarded, and takes this workspace's permits")
    if is_there:
        return broken("the registry is guarded and this workspace signs nothing", "set guarded_registry = true")
    if is_wanted:
        return broken("the registry guards nothing", "start its server with --registry-store-uri amends+…")
    return warn("anybody who reaches the registry can move an alias", "guard it: see docs/deploying.md")


def look_at_webhooks(workspace: Workspace) -> Finding:
    """Say whether every receiver has its secret here, and how many events wait."""
    receivers = workspace.settings.webhooks
    for receiver in receivers:
        receiver.secret()
    left = {receiver.name: waiting(workspace.database, receiver) for receiver in receivers}
    behind = {name: count for name, count in left.items() if count}
    if behind:
        told = ", ".join(f"{count} for {name}" for name, count in behind.items())
        return warn(f"events wait: {told}", "run: amends webhooks deliver, which says why")
    return ok(f"{len(receivers)} receivers, none is behind")


def look_at_scheduler(workspace: Workspace, deep: bool = False) -> Finding:
    """Say where operations run; with `deep` start it and say what it has."""
    name, address = workspace.settings.scheduler, os.environ.get("RAY_ADDRESS", "")
    if name == "ray" and importlib.util.find_spec("ray") is None:
        return broken("Ray is not installed", 'run: pip install ray, or set scheduler = "inline"')
    if name == "inline" and not deep:
        return ok(f"inline: in this process, {workspace.settings.cpus} cores")
    where = f"the cluster at {address}" if address else f"a local one with {workspace.settings.cpus} cores"
    if not deep:
        return ok(f"ray: {where}, not started now")
    try:
        found = workspace.scheduler.resources()
    except BadInput:
        raise
    except Exception as error:
        way = "start the cluster, or unset RAY_ADDRESS" if address else 'free some memory, or set scheduler = "inline"'
        return broken(f"{name} does not start ({type(error).__name__})", way)
    return ok(f"{name}: {', '.join(f'{key} {value}' for key, value in sorted(found.items()))}")


def look_at_disk(home: Path) -> Finding:
    """Say how much room is left for models."""
    place = next(path for path in (home, *home.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free / 1e9
    if free < LEAST_DISK_GB:
        return warn(f"{free:.1f} GB are free", "make room, or run `amends models prune`; a training run needs a few GB")
    return ok(f"{free:.0f} GB are free")
