"""Bring approved cases to their end: one Change for all that wait on one model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from amends.errors import TaskFailed
from amends.governor.work import batches
from amends.governor.work.durable import executor, run
from amends.governor.work.piece import Work, earlier
from amends.governor.work.training import open_training
from amends.governor.workspace import Workspace
from amends.ledger import cases, journal
from amends.records import Case, CaseStatus

CARRIERS = ("dpo", "operator", "ml-engineer", "safety-engineer")


def carry(workspace: Workspace, case: str) -> Case:
    """Carry out an approved case, together with every other of its model that the same people approved.

    Whoever is signed in must be a carrier; with nobody signed in it is unattended work, which does what others decided.

    Raises:
        Waiting: Its plan is not approved yet.
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
    return _ended(workspace, case)


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
    return _ended(workspace, case)


def purge_due(workspace: Workspace, now: bool = False) -> list[Case]:
    """Purge every sealed case whose time has come, or all of them now; a model's oldest first.

    What a later case supersedes still holds the people of an earlier one, and the other way round: so the earlier
    ones of a model go no later than the later ones. A purge that failed is tried again, and once more after the
    others: two cases of one person, on two models, find each other's records until both have purged.

    Args:
        workspace: Where the cases are.
        now: Do not wait for the policy's delay.

    Raises:
        TaskFailed: One failed for good; the others were purged all the same.
    """
    if now:
        workspace.require_role(*CARRIERS)
    else:
        workspace.require_unattended_or(*CARRIERS)
    done: dict[str, CaseStatus] = {}
    with executor(workspace):
        for _ in range(2):
            for work in _due(workspace, now):
                run(workspace, _begin_purge(workspace, work))
                with workspace.database.read() as connection:
                    done |= {case: cases.get(connection, case).status for case in work.cases}
            if CaseStatus.COMPLETE not in done.values():
                break
    return [_ended(workspace, case) for case in done]


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
            if case.status == CaseStatus.SEALED or batches.kind_of(connection, work) == "purge":
                members.setdefault(work.lead, []).append(case.id)
        works = [Work(lead, tuple(sorted(some, key=lambda case: case != lead)), batches.of(connection, lead).model)
                 for lead, some in members.items()]  # fmt: skip
    works.sort(key=lambda work: (work.model, earlier(workspace, work, "register")["version"], work.lead))
    due: list[Work] = []
    for work in reversed(works):
        after = datetime.fromisoformat(earlier(workspace, work, "seal")["purge_after"])
        if now or after <= datetime.now(UTC) or (due and due[-1].model == work.model):
            due.append(work)
    return due[::-1]


def train(
    workspace: Workspace,
    *,
    base: str,
    data: str,
    model: str,
    operation: str = "training.shards",
    parameters: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> tuple[Case, Mapping[str, Any]]:
    """Train a model durably; returns the case and what its steps left: `train`, `measure`, `register`, `promote`.

    Raises:
        TaskFailed: It failed for good.
    """
    id = open_training(
        workspace, base=base, data=data, model=model, operation=operation, parameters=parameters, seed=seed
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
    with executor(workspace), workspace.database.read() as connection:  # which begins with just that
        return [cases.get(connection, case) for case in found]
