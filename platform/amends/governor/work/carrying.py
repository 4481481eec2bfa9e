"""Bring approved cases to their end: one Change for all that wait on one model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amends.errors import TaskFailed
from amends.governor.work import batches, families
from amends.governor.work.durable import executor, run
from amends.governor.work.piece import Work, earlier
from amends.governor.work.training import open_training
from amends.governor.workspace import Workspace
from amends.ledger import approvals, cases, journal
from amends.records import Case, CaseStatus

if TYPE_CHECKING:
    from sqlalchemy import Connection

CARRIERS = ("dpo", "operator", "ml-engineer", "safety-engineer")


def carry(workspace: Workspace, case: str) -> Case:
    """Carry out an approved case, together with every other of its model that the same people approved.

    Whoever is signed in must be a carrier; with nobody signed in it is unattended work, which does what others decided.
    What it opened for models that descend from its own follows, as far as that is approved: each once those that it
    waits for have replaced their versions. One that fails leaves this case sealed and open.

    Raises:
        Waiting: Its plan is not approved yet, or another case goes first.
        TaskFailed: It failed for good; the reason is in the case.
    """
    workspace.require_unattended_or(*CARRIERS)
    with workspace.database.read() as connection:
        if cases.get(connection, case).status != CaseStatus.IN_PROGRESS:
            batches.check_approved(connection, case)
    with executor(workspace):
        with workspace.database.read() as connection:
            is_waiting = cases.get(connection, case).status == CaseStatus.AWAITING_APPROVAL
        if is_waiting:
            run(workspace, batches.form(workspace, case))
        _follow(workspace, [case])
    return _ended(workspace, case)


def _follow(workspace: Workspace, begun: Iterable[str]) -> list[str]:
    """Carry out what these cases and those carried out with them opened, as soon as nothing is before it."""
    roots, done = {root for case in begun for root in _roots(workspace, case)}, list[str]()
    while (following := _next(workspace, roots, done)) is not None:
        done.append(following)
        run(workspace, batches.form(workspace, following))
    return done


def _roots(workspace: Workspace, case: str) -> set[str]:
    with workspace.database.read() as connection:
        members = batches.of(connection, case).cases
        return {cases.family(connection, member)[0].id for member in members}


def _next(workspace: Workspace, roots: Iterable[str], done: Sequence[str]) -> str | None:
    """Return an approved case of these families that has not begun and waits for no other."""
    with workspace.database.read() as connection:
        for root in sorted(roots):
            for found in cases.family(connection, root)[1:]:
                is_waiting = found.status == CaseStatus.AWAITING_APPROVAL and found.id not in done
                if is_waiting and not approvals.missing(connection, found.id) and families.is_ready(connection, found):
                    return found.id
    return None


def _ended(workspace: Workspace, case: str) -> Case:
    with workspace.database.read() as connection:
        found = cases.get(connection, case)
    if found.status == CaseStatus.FAILED:
        raise TaskFailed(f"case {case} failed: {found.reason}; mend it and run `amends cases retry {case}`")
    return found


def retry(workspace: Workspace, case: str) -> Case:
    """Try a failed case again, with those that failed beside it, from the step that failed.

    Where the champion has moved meanwhile, or one of them was cancelled, they begin anew.

    Raises:
        BadInput: It has not failed.
        TaskFailed: It failed again.
    """
    workspace.require_role(*CARRIERS)
    with executor(workspace):
        run(workspace, batches.again(workspace, case))
        _follow(workspace, [case])
    return _ended(workspace, case)


def purge_due(workspace: Workspace, now: bool = False) -> list[Case]:
    """Purge as `try_purges` does, and return the cases as they stand then.

    Raises:
        TaskFailed: One failed for good; the others were purged all the same.
    """
    return [_ended(workspace, case) for case in try_purges(workspace, now)]


def try_purges(workspace: Workspace, now: bool = False) -> list[str]:
    """Purge every sealed case whose time has come, or all of them now; a model's oldest first.

    What a later case supersedes still holds the people of an earlier one, and the other way round: so the earlier
    ones of a model go no later than the later ones. A purge that failed is tried again as long as others end: two
    cases of one person, on two models, find each other's records until both have purged. A request and what it opened
    for other models delete first, all of them, and are then searched for and closed from the last one back.

    Args:
        workspace: Where the cases are.
        now: Do not wait for the policy's delay.

    Returns:
        The cases that were purged, and those that failed at it.
    """
    if now:
        workspace.require_role(*CARRIERS)
    else:
        workspace.require_unattended_or(*CARRIERS)
    done: dict[str, CaseStatus] = {}
    with executor(workspace):
        _follow(workspace, _sealed(workspace))  # what was approved later, or lost its process before it began
        _say_what_is_open(workspace)
        progress = -1
        while progress < (progress := _progress(workspace, done)):
            for work in _due(workspace, now):
                run(workspace, _begin_purge(workspace, work))
                with workspace.database.read() as connection:
                    done |= {case: cases.get(connection, case).status for case in work.cases}
    return list(done)


def _progress(workspace: Workspace, done: Mapping[str, CaseStatus]) -> int:
    """Return how far these cases have come: one for each that has deleted, and one more for each that has closed."""
    with workspace.database.read() as connection:
        leads = [str(cases.detail(connection, case).get("lead", case)) for case in done]
        purged = [families.PURGED in journal.steps_of(connection, lead) for lead in leads]
    return sum(purged) + sum(status == CaseStatus.COMPLETE for status in done.values())


def _sealed(workspace: Workspace) -> list[str]:
    with workspace.database.read() as connection:
        return [case.id for case in cases.find(connection, status=CaseStatus.SEALED, kind="erasure", limit=None)]


def _say_what_is_open(workspace: Workspace) -> None:
    """Say of each request that cannot close what it waits for."""
    sealed = _sealed(workspace)
    with workspace.database.read() as connection:
        requests = [id for id in sealed if cases.get(connection, id).parent is None]
        told = {id: families.what_to_do(connection, id) for id in requests}
    for case, sentences in told.items():
        for sentence in sentences:
            workspace.say(f"case {case} stays open: {sentence}")


def _begin_purge(workspace: Workspace, work: Work) -> Work:
    with workspace.database.read() as connection:
        has_failed = cases.get(connection, work.lead).status == CaseStatus.FAILED
    if has_failed:
        return batches.again(workspace, work.lead)
    with workspace.database.transaction() as connection:
        return batches.begin(workspace, connection, "purge", work.model, work.cases)


def _due(workspace: Workspace, now: bool) -> list[Work]:
    """Return the sealed work that is due, in the order in which it replaced a model's champions."""
    with workspace.database.read() as connection:
        found = cases.find(connection, status=(CaseStatus.SEALED, CaseStatus.FAILED), kind="erasure", limit=None)
        members: dict[str, list[str]] = {}
        for case in found:
            work = batches.of(connection, case.id)
            is_purge = case.status == CaseStatus.SEALED or batches.kind_of(connection, work) == "purge"
            if is_purge and not _is_held_up(connection, work):
                members.setdefault(work.lead, []).append(case.id)
        works = [Work(lead, tuple(sorted(some, key=lambda case: case != lead)), batches.of(connection, lead).model)
                 for lead, some in members.items()]  # fmt: skip
    works.sort(key=lambda work: (work.model, _version(workspace, work), work.lead))
    due: list[Work] = []
    for work in reversed(works):
        after = datetime.fromisoformat(earlier(workspace, work, "seal")["purge_after"])
        if now or after <= datetime.now(UTC) or (due and due[-1].model == work.model):
            due.append(work)
    return due[::-1]


def _is_held_up(connection: Connection, work: Work) -> bool:
    """Whether a model below still serves what has to go, or all that is left to do waits for the rest of the family.

    The request deletes first: it is the one that finds what no case sees to, and that has to be planned from the data.
    """
    if any(families.unreplaced_below(connection, case) for case in work.cases):
        return True
    roots = [cases.family(connection, case)[0] for case in work.cases]
    if not all(root.id in work.cases or families.has_purged(connection, root) for root in roots):
        return True
    is_purged = families.PURGED in journal.steps_of(connection, work.lead)
    return is_purged and not families.may_attest(connection, work)


def _version(workspace: Workspace, work: Work) -> int:
    """Return the number of the version that work made; 0 where it took one out of service."""
    with workspace.database.read() as connection:
        return int((journal.step_result(connection, work.lead, "register") or {"version": 0})["version"])


def train(
    workspace: Workspace,
    *,
    base: str,
    data: str,
    model: str,
    operation: str = "training.shards",
    parameters: Mapping[str, Any] | None = None,
    seed: int = 0,
    state: Path | None = None,
) -> tuple[Case, Mapping[str, Any]]:
    """Train a model durably; returns the case and what its steps left: `train`, `measure`, `register`, `promote`.

    Raises:
        TaskFailed: It failed for good.
    """
    id = open_training(
        workspace, base=base, data=data, model=model, operation=operation, parameters=parameters, seed=seed, state=state
    )
    with executor(workspace):
        with workspace.database.transaction() as connection:
            work = batches.begin(workspace, connection, "training", model, (id,))
        run(workspace, work)
    case = _ended(workspace, id)
    with workspace.database.read() as connection:
        return case, json.loads(json.dumps(journal.steps_of(connection, id)))


def resume(workspace: Workspace) -> list[Case]:
    """Finish whatever a crash interrupted, and return the cases that ran."""
    workspace.require_unattended_or(*CARRIERS)
    with workspace.database.read() as connection:
        found = [case.id for case in cases.find(connection, status=CaseStatus.IN_PROGRESS, limit=None)]
    with executor(workspace):  # which begins with just that
        found += [case for case in _follow(workspace, found) if case not in found]
        with workspace.database.read() as connection:
            return [cases.get(connection, case) for case in found]
