"""`amends work`: carry out whatever is pending."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from amends.cli.aliases import outcome
from amends.cli.output import Screen
from amends.cli.tables import Table
from amends.cli.verbs import verb
from amends.errors import AmendsError, TaskFailed

if TYPE_CHECKING:
    from amends.governor.models.reconciling import Report
    from amends.governor.workspace import Workspace

RECONCILER = "reconciliation"


@verb("work", example="amends work")
def work(screen: Screen) -> int:
    """Finish what a crash interrupted, carry out what is approved, purge and shred what is due; needs no token.

    Every `reconcile_minutes` of amends.toml it also compares MLflow with the ledger, as `amends aliases check` does.
    """
    from amends.governor.cases.viewing import case_list
    from amends.governor.subjects.shredding import shred_due
    from amends.governor.work import carrying

    with screen.workspace() as workspace:
        touched = [case.id for case in carrying.resume(workspace)]
        touched += _approved(screen, workspace)
        touched += carrying.try_purges(workspace)
        touched += shred_due(workspace)
        found = [row for row in case_list(workspace, limit=0) if row["id"] in touched]
        found += _reconciled(screen, workspace)
    rows = [(row["id"], row["kind"], row["model"], row["status"], row["reason"]) for row in found]
    screen.show(found, Table(("case", "kind", "model", "status", "reason"), rows, "nothing is pending"))
    return 1 if any(row["status"] in ("failed", "denied") for row in found) else 0


def _approved(screen: Screen, workspace: Workspace) -> list[str]:
    """Carry out each approved case; one that fails is told and leaves the others their turn."""
    from amends.governor.cases.viewing import case_list
    from amends.governor.work import carrying

    touched: list[str] = []
    while True:
        waiting = case_list(workspace, status="awaiting approval", limit=0)
        ready = [row["id"] for row in waiting if _is_ready(row) and row["id"] not in touched]
        if not ready:
            return touched
        touched.append(ready[0])
        try:
            carrying.carry(workspace, ready[0])
        except TaskFailed as error:
            screen.say(str(error))


def _reconciled(screen: Screen, workspace: Workspace) -> list[dict[str, Any]]:
    """Compare MLflow with the ledger if it is time, and return a row for each thing that differs."""
    from amends.governor.models.reconciling import reconcile_due

    try:
        report = reconcile_due(workspace)
    except AmendsError as error:
        return [_row("failed", "", str(error))]
    if report is None:
        return []
    screen.say(f"MLflow was compared with the ledger ({report.mode}): {_count(report)}")
    return [_row(outcome(row), str(row["model"]), str(row["sentence"])) for row in report.rows()]


def _count(report: Report) -> str:
    if not report.rows():
        return "everything stands there as Amends left it"
    return f"{len(report.found)} differ, {len(report.restored)} put back, {len(report.aside)} versions quarantined"


def _row(status: str, model: str, reason: str) -> dict[str, Any]:
    return {"id": RECONCILER, "kind": RECONCILER, "model": model, "status": status, "reason": reason}


def _is_ready(row: Mapping[str, Any]) -> bool:
    return not row["missing_approvals"] and not row["waits_for"]
