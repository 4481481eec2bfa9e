"""`amends promote` and `amends rollback`: move an alias, as the promotion policy allows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from amends.cli import casetext
from amends.cli.output import Screen
from amends.cli.verbs import verb

if TYPE_CHECKING:
    from amends.governor.workspace import Workspace
    from amends.records import Case

POLL_SECONDS = 1.0
WHY = "Why, for those who approve and for the alias's history; it is kept, so name nobody in it."
RUNNING = ("awaiting approval", "in progress", "locating")

_wait = click.option("--wait", is_flag=True, help="Stay until the case has ended.")
_timeout = click.option(
    "--timeout", type=click.FloatRange(0), default=3600.0, show_default=True, metavar="SECONDS",
    help="With --wait: leave after so long, with 3 where somebody still has to act.",
)  # fmt: skip


@verb("promote", example='amends promote assistant@2 --to champion --reason "knows the new address" --wait --json')
@click.argument("reference", metavar="MODEL@VERSION")
@click.option("--to", "alias", required=True, metavar="ALIAS", help="The alias to move, such as champion.")
@click.option("--reason", default="", help=WHY)
@_wait
@_timeout
def promote(screen: Screen, reference: str, alias: str, reason: str, wait: bool, timeout: float) -> int:
    """Ask for an alias to stand for a version; `promotion.yaml` says who must approve, and judges.

    Leaves with 0 when the alias has moved, 1 when it may not, 3 while approvals are wanting.
    """
    from amends.governor.cases.promoting import open_promotion

    with screen.workspace() as workspace:
        return _told(screen, workspace, open_promotion(workspace, reference, alias, reason), timeout if wait else 0.0)


@verb("rollback", example='amends rollback assistant --reason "answers got worse"')
@click.argument("model")
@click.option("--to", type=click.IntRange(1), metavar="VERSION", help="A version that the alias stood for before.")
@click.option("--alias", default="champion", show_default=True, help="The alias to move back.")
@click.option("--reason", required=True, help=WHY)
@_wait
@_timeout
def rollback(screen: Screen, model: str, to: int | None, alias: str, reason: str, wait: bool, timeout: float) -> int:
    """Ask for an alias to stand where it stood before: a promotion like any other, judged by the same rules."""
    from amends.governor.cases.promoting import open_rollback

    with screen.workspace() as workspace:
        case = open_rollback(workspace, model, reason=reason, to=to, alias=alias)
        return _told(screen, workspace, case, timeout if wait else 0.0)


def _told(screen: Screen, workspace: Workspace, case: Case, seconds: float) -> int:
    """Show where a case stands, after so many seconds at most; a later look at its plan is one command away."""
    view = _watched(screen, workspace, case.id, seconds)
    steps = casetext.next_steps(view)
    plan = casetext.lines_of_plan(view["plan"] or {})
    screen.show({**view, "next": steps}, *casetext.case_lines(view), *plan, *steps)
    return casetext.exit_code(view)


def _watched(screen: Screen, workspace: Workspace, case: str, seconds: float) -> dict[str, Any]:
    from amends.governor.cases.viewing import case_view

    until = time.monotonic() + seconds
    view = case_view(workspace, case)
    if seconds and view["status"] in RUNNING:
        screen.say(f"waiting for case {case}, {seconds:g} s at most; approve it: amends cases approve {case}")
    while view["status"] in RUNNING and (left := until - time.monotonic()) > 0:
        time.sleep(min(POLL_SECONDS, left))
        view = case_view(workspace, case)
    return view
