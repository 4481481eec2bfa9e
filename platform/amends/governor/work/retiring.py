"""Take versions that hold a subject out of service where they cannot be made again: aliases first, then a seal."""

from __future__ import annotations

from amends.errors import BadInput
from amends.governor.work.piece import Result, Work, earlier
from amends.governor.work.preparing import prepare_on
from amends.governor.workspace import Workspace
from amends.ledger import aliases, cases, journal, lineage
from amends.ledger.actions import Action
from amends.ledger.lineage import Version
from amends.records import ModelVersion


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

    What an attempt that was killed took away already is told as well.
    """
    held = going(workspace, work)
    for version in held:
        with workspace.database.read() as connection:
            names = [a for a, n in aliases.aliases_of(connection, version.model).items() if n == version.number]
        for alias in names:
            _take(workspace, work, version, alias)
    with workspace.database.transaction() as connection:
        actor = cases.get(connection, work.lead).requester
        for version in held:
            lineage.set_status(connection, version.model, version.number, "sealed")
            body = {"model": version.model, "version": version.number, "digest": version.digest}
            workspace.record(connection, f"{work.lead}:sealed:{version.name}", Action.MODEL_SEALED, body, actor)
        taken = aliases.withdrawn(connection, work.model, work.cases)
    return {"aliases": taken, "versions": [version.number for version in held], "served": _served(workspace, work)}


def going(workspace: Workspace, work: Work) -> list[Version]:
    """Return the versions of the model that hold the subjects and are not purged."""
    with workspace.database.read() as connection:
        held = lineage.tainted_by(connection, earlier(workspace, work, "prepare")["purged"])
    return [version for version in held if version.model == work.model and version.status != "purged"]


def _take(workspace: Workspace, work: Work, version: Version, alias: str) -> None:
    """Take one alias away: first in MLflow, which does not mind to be asked twice, then here."""
    workspace.registry.drop_alias(version.model, alias, version.number)
    with workspace.database.transaction() as connection:
        actor = cases.get(connection, work.lead).requester
        aliases.withdraw(
            connection, model=version.model, alias=alias, expected=version.number, actor=actor, case=work.lead
        )
        body = {"model": version.model, "alias": alias, "old": version.number, "digest": version.digest}
        workspace.record(connection, f"{work.lead}:alias:{alias}", Action.ALIAS_WITHDRAWN, body, actor)


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
