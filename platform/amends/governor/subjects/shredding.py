"""Destroy what still ties a closed case to a person, when the policy no longer wants it kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from amends.governor.workspace import Workspace
from amends.ledger import cases, reviews
from amends.ledger.actions import Action
from amends.records import Case, CaseStatus

ENDED = (CaseStatus.COMPLETE, CaseStatus.NEGATIVE, CaseStatus.REFUSED, CaseStatus.CANCELLED)
RETENTION_DAYS = 1095  # where a case ended before it had a plan


def shred_due(workspace: Workspace, at: datetime | None = None) -> list[str]:
    """Destroy the keys of erasure cases whose retention is over, and return the cases.

    Without its key nobody reads a case's identifiers, needles or receipt any more; the certificate, the audit
    log and the readings stay. Doing it again changes nothing. Where a reviewer marked a record `hold`, the key
    stays: an exemption keeps that record, and somebody may have to explain it.

    Args:
        workspace: Where the cases are.
        at: The moment to judge by; now if None.
    """
    workspace.require_unattended_or("dpo", "operator")
    moment = at or datetime.now(UTC)
    with workspace.database.read() as connection:
        found = cases.find(connection, kind="erasure", status=ENDED, limit=None)
        due = [
            case
            for case in found
            if _is_due(cases.get(connection, case.id), cases.detail(connection, case.id), moment)
            and not reviews.has_hold(connection, case.id)
        ]
    for case in due:
        _shred(workspace, case)
    return [case.id for case in due]


def _is_due(case: Case, beside: dict[str, object], moment: datetime) -> bool:
    closed = beside["closed_at"]
    if beside["shredded_at"] is not None or not isinstance(closed, datetime):
        return False
    days = int((case.plan or {}).get("retention_days", RETENTION_DAYS))
    return moment >= closed + timedelta(days=days)


def _shred(workspace: Workspace, case: Case) -> None:
    workspace.keyring.destroy_case_key(case.id)
    for file in (workspace.home / "cases").glob(f"{case.id}.*"):
        file.unlink()
    with workspace.database.transaction() as connection:
        cases.shred(connection, case.id)
        workspace.record(connection, f"{case.id}:shredded", Action.CASE_SHREDDED, {}, case.requester)
