"""Carry a case on as far as nobody has to act, and show where it stands: how every verb that opens one ends."""

from __future__ import annotations

from amends.cli import casetext
from amends.cli.output import Screen
from amends.governor.cases.viewing import case_view
from amends.governor.work.carrying import carry
from amends.governor.workspace import Workspace


def follow(screen: Screen, workspace: Workspace, case: str) -> int:
    """Carry a case on if it waits for nobody, show where it stands, and return the exit code."""
    view = case_view(workspace, case)
    if view["status"] in ("awaiting approval", "in progress") and not view["missing_approvals"]:
        carry(workspace, case)
        view = case_view(workspace, case)
    steps = casetext.next_steps(view)
    screen.show({**view, "next": steps}, *casetext.case_lines(view), *steps)
    return casetext.exit_code(view)
