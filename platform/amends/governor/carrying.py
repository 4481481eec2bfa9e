"""Bring approved cases to their end: one Change for all that wait on one model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from amends.errors import BadInput, TaskFailed, Waiting
from amends.governor.applying import Work, earlier
from amends.governor.durable import carry_out, executor
from amends.governor.requesting import plan_case
from amends.governor.training import open_training
from amends.governor.workspace import Workspace
from amends.ledger import approvals, cases, journal
from amends.ledger.actions import Action
from amends.records import Case, CaseStatus

CARRIERS = ("dpo", "operator", "ml-engineer", "safety-engineer")


def carry(workspace: Workspace, case: str) -> Case:
    """Carry out an approved case, together with every other approved case of its model.

    Raises:
        Waiting: Its plan is not approved yet.
        TaskFailed: It failed for good; the reason is in the case.
    """
    workspace.require_role(*CARRIERS)
    work = _gather(workspace, case)
    with executor(workspace):
        carry_out(workspace, "erasure", work)
    return _ended(workspace, case)


def _gather(workspace: Workspace, case: str) -> Work:
    with workspace.database.read() as connection:
        found = cases.get(connection, case)
        if lead := cases.detail(connection, case).get("lead"):
            return _batch(connection, str(lead))
        if found.status != CaseStatus.AWAITING_APPROVAL or approvals.missing(connection, case):
            raise Waiting(f"case {case} is {found.status} and lacks {approvals.missing(connection, case)} approvals")
        waiting = cases.find(
            connection, model=found.model, kind="erasure", status=CaseStatus.AWAITING_APPROVAL, limit=None
        )
        ready = [case, *(c.id for c in waiting if c.id != case and not approvals.missing(connection, c.id))]
    with workspace.database.transaction() as connection:
        for member in ready:
            cases.add_detail(connection, member, {"lead": case, "batch": ready})
        return Work(case, tuple(ready), found.model, _attempt(connection, case))


def _batch(connection: Any, lead: str) -> Work:
    beside = cases.detail(connection, lead)
    return Work(lead, tuple(beside["batch"]), cases.get(connection, lead).model, _attempt(connection, lead))


def _attempt(connection: Any, lead: str) -> int:
    return int(cases.detail(connection, lead).get("attempt", 0))


def _ended(workspace: Workspace, case: str) -> Case:
    with workspace.database.read() as connection:
        found = cases.get(connection, case)
    if found.status == CaseStatus.FAILED:
        raise TaskFailed(f"case {case} failed: {found.reason}; mend it and run `amends cases retry {case}`")
    return found


def retry(workspace: Workspace, case: str) -> Case:
    """Try a failed case again; what was built before the failure is built again unless it is registered."""
    workspace.require_role(*CARRIERS)
    with workspace.database.transaction() as connection:
        found = cases.get(connection, case)
        if found.status != CaseStatus.FAILED:
            raise BadInput(f"case {case} is {found.status}; only a failed case can be tried again")
        lead = str(cases.detail(connection, case).get("lead", case))
        attempt = _attempt(connection, lead) + 1
        if "register" not in journal.steps_of(connection, lead):
            journal.forget_steps(connection, lead)
        cases.add_detail(connection, lead, {"attempt": attempt})
        workspace.record(connection, f"{case}:retried:{attempt}", Action.CASE_RETRIED, {"attempt": attempt})
        work = _batch(connection, lead) if found.kind == "erasure" else Work(case, (case,), found.model, attempt)
        is_purge = "seal" in journal.steps_of(connection, lead)
    with executor(workspace):
        carry_out(workspace, "purge" if is_purge else found.kind, work)
    return _ended(workspace, case)


def purge_due(workspace: Workspace, now: bool = False) -> list[Case]:
    """Purge every sealed case whose time has come, or all of them now.

    Args:
        workspace: Where the cases are.
        now: Do not wait for the policy's delay.
    """
    workspace.require_role(*CARRIERS)
    with workspace.database.read() as connection:
        sealed = cases.find(connection, status=CaseStatus.SEALED, kind="erasure", limit=None)
        leads = sorted({str(cases.detail(connection, c.id).get("lead", c.id)) for c in sealed})
        works = [_batch(connection, lead) for lead in leads]
    done = []
    for work in works:
        after = datetime.fromisoformat(earlier(workspace, work, "seal")["purge_after"])
        if now or after <= datetime.now(UTC):
            with executor(workspace):
                carry_out(workspace, "purge", work)
            done += [_ended(workspace, case) for case in work.cases]
    return done


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
        carry_out(workspace, "training", Work(id, (id,), model))
    case = _ended(workspace, id)
    with workspace.database.read() as connection:
        return case, json.loads(json.dumps(journal.steps_of(connection, id)))


def resume(workspace: Workspace) -> list[Case]:
    """Finish whatever a crash interrupted, and return the cases that ran."""
    workspace.require_role(*CARRIERS)
    with workspace.database.read() as connection:
        found = cases.find(connection, status=CaseStatus.IN_PROGRESS, limit=None)
        works = {}
        for case in found:
            steps = journal.steps_of(connection, str(cases.detail(connection, case.id).get("lead", case.id)))
            if case.kind == "erasure":
                work = _batch(connection, str(cases.detail(connection, case.id).get("lead", case.id)))
                works[work.lead] = ("purge" if "seal" in steps else "erasure", work)
            else:
                works[case.id] = ("training", Work(case.id, (case.id,), case.model, _attempt(connection, case.id)))
    with executor(workspace):
        for kind, work in works.values():
            carry_out(workspace, kind, work)
    with workspace.database.read() as connection:
        return [cases.get(connection, case) for _, work in works.values() for case in work.cases]


def replan(workspace: Workspace, case: str) -> Case:
    """Locate and plan a case again, as after a data set was registered; earlier approvals are void."""
    workspace.require_role("dpo", "operator", "requester")
    return plan_case(workspace, case)
