"""Take versions that hold a subject out of service where they cannot be made again: aliases first, then a seal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amends.errors import BadInput, Cancelled
from amends.governor.work import families
from amends.governor.work.piece import Result, Work, earlier, is_current
from amends.governor.work.preparing import prepare_on
from amends.governor.workspace import Workspace
from amends.ledger import aliases, cases, journal, lineage
from amends.ledger.actions import Action
from amends.ledger.lineage import Version
from amends.records import ModelVersion

if TYPE_CHECKING:
    from sqlalchemy import Connection


def prepare(workspace: Workspace, work: Work) -> Result:
    """Fix what goes: the versions that hold the subjects, and the records by which they are looked for later.

    Raises:
        BadInput: No version of the model is left.
    """
    with workspace.database.read() as connection:
        alive = [v for v in lineage.versions_of(connection, work.model) if v.status != "purged"]
        served = aliases.aliases_of(connection, work.model)
    if not alive:
        raise BadInput(f"no version of {work.model} is left; cancel the case with `amends cases cancel {work.lead}`")
    first = next((v for v in alive if v.number == served.get(aliases.DEFAULT)), alive[-1])
    return prepare_on(workspace, work, ModelVersion(first.model, first.number, first.digest), is_rebuilt=False)


def withdraw(workspace: Workspace, work: Work) -> Result:
    """Take every alias away from the versions that hold the subjects, and seal them; nothing takes their place.

    Here that happens at once, so that a case is called off before any of it or not at all. MLflow follows, and is told
    again what an attempt that was killed took away.

    Raises:
        Cancelled: A case was called off before.
    """
    held = going(workspace, work)
    with workspace.database.transaction() as connection:
        if families.WITHDRAWN not in journal.steps_of(connection, work.lead):
            if not is_current(connection, work):
                raise Cancelled(f"case {work.lead} was called off before anything was taken out of service")
            for version in held:
                _take(workspace, connection, work, version)
            journal.record_step(connection, work.lead, families.WITHDRAWN, {})
        taken = aliases.withdrawn(connection, work.model, work.cases)
    for alias, number in taken.items():
        workspace.registry.drop_alias(work.model, alias, number)
    return {"aliases": taken, "versions": [version.number for version in held], "served": _served(workspace, work)}


def going(workspace: Workspace, work: Work) -> list[Version]:
    """Return the versions of the model that hold the subjects and are not purged."""
    with workspace.database.read() as connection:
        held = lineage.tainted_by(connection, earlier(workspace, work, "prepare")["purged"])
    return [version for version in held if version.model == work.model and version.status != "purged"]


def _take(workspace: Workspace, connection: Connection, work: Work, version: Version) -> None:
    """Take a version's aliases away, and seal it."""
    actor = cases.get(connection, work.lead).requester
    body = {"model": version.model, "digest": version.digest}
    for alias, number in aliases.aliases_of(connection, version.model).items():
        if number == version.number:
            aliases.withdraw(connection, model=version.model, alias=alias, expected=number, actor=actor, case=work.lead)
            told = {**body, "alias": alias, "old": number}
            workspace.record(connection, f"{work.lead}:alias:{alias}", Action.ALIAS_WITHDRAWN, told, actor)
    lineage.set_status(connection, version.model, version.number, "sealed")
    told = {**body, "version": version.number}
    workspace.record(connection, f"{work.lead}:sealed:{version.name}", Action.MODEL_SEALED, told, actor)


def _served(workspace: Workspace, work: Work) -> str:
    """Return the version that took the place of the one whose request this is: its words are searched for later."""
    with workspace.database.read() as connection:
        root = cases.family(connection, work.lead)[0].id
        lead = str(cases.detail(connection, root).get("lead", root))
        return str((journal.step_result(connection, lead, "register") or {}).get("digest", ""))


def is_retired(workspace: Workspace, work: Work) -> bool:
    """Whether work took its model out of service."""
    with workspace.database.read() as connection:
        return journal.step_result(connection, work.lead, "withdraw") is not None


def retired_lines(workspace: Workspace, work: Work) -> tuple[str, ...]:
    """Return what was taken out of service and why, one sentence each."""
    done = earlier(workspace, work, "withdraw")
    with workspace.database.read() as connection:
        because = str((cases.get(connection, work.lead).plan or {}).get("because", ""))
    numbers = ", ".join(f"{work.model}@{number}" for number in done["versions"]) or "no version"
    taken = [f"The alias {alias} was taken away from {work.model}@{n}." for alias, n in sorted(done["aliases"].items())]
    return (f"Out of service since this case: {numbers}. Why it was not made again: {because}.", *taken)
