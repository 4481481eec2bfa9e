"""`amends cases mark|approve|deny|retry|replan|cancel|extend|purge`: what people do to a case."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from amends.cli import casetext
from amends.cli.output import Screen
from amends.cli.tables import Table
from amends.cli.times import read_time
from amends.cli.verbs import verb
from amends.errors import BadInput, Denied

if TYPE_CHECKING:
    from amends.governor.workspace import Workspace

MARKS = ("erase", "redact", "keep", "hold")


@verb("mark", example='amends cases mark e-0123456789 4f1c keep --reason "another person of that name"')
@click.argument("case")
@click.argument("records", metavar="RECORD...", nargs=-1, required=True)
@click.argument("mark", metavar="|".join(MARKS), type=click.Choice(MARKS))
@click.option("--reason", required=True, help="Why; kept until the case's key is destroyed.")
def mark(screen: Screen, case: str, records: tuple[str, ...], mark: str, reason: str) -> None:
    """Decide about near misses: erase them, redact the person, keep them, or hold them for an exemption.

    The last mark makes the plan.
    """
    from amends.governor.cases import deciding

    with screen.workspace() as workspace:
        for record in records:
            deciding.mark(workspace, case, record, mark, reason)
        _show(screen, workspace, case)


@verb("approve", example="amends cases approve e-0123456789 --plan 3fa94c01d2ee --yes")
@click.argument("case")
@click.option("--plan", default="", metavar="DIGEST", help="The plan that you read, or its first letters.")
@click.option("--yes", is_flag=True, help="Do not ask again.")
def approve(screen: Screen, case: str, plan: str, yes: bool) -> int:
    """Approve the plan of a case; the approval that completes the quorum carries the case on, here and now."""
    from amends.governor.cases import deciding
    from amends.governor.cases.viewing import case_view
    from amends.governor.work import carrying

    with screen.workspace() as workspace:
        read = case_view(workspace, case)
        if not yes and read["plan"]:
            _confirm(screen, read)
        missing = deciding.approve(workspace, case, plan or read["plan_digest"] or "")[1]
        if missing:
            _show(screen, workspace, case)
            return 0
        screen.say(f"everybody has approved; carrying out case {case}")
        carrying.carry(workspace, case)
        return casetext.exit_code(_show(screen, workspace, case))


@verb("deny", example='amends cases deny e-0123456789 --reason "17(3)(b): the law requires us to keep it"')
@click.argument("case")
@click.option(
    "--reason", required=True, help="The exemption or reason; the person has to be told within the same clock."
)
def deny(screen: Screen, case: str, reason: str) -> None:
    """Refuse a request with its reason."""
    from amends.governor.cases import deciding

    with screen.workspace() as workspace:
        deciding.deny(workspace, case, reason)
        _show(screen, workspace, case)


@verb("retry", example="amends cases retry e-0123456789")
@click.argument("case")
def retry(screen: Screen, case: str) -> int:
    """Try a failed case again, here and now."""
    from amends.governor.work import carrying

    with screen.workspace() as workspace:
        carrying.retry(workspace, case)
        return casetext.exit_code(_show(screen, workspace, case))


@verb("replan", example="amends cases replan e-0123456789")
@click.argument("case")
def replan(screen: Screen, case: str) -> None:
    """Locate and plan again, as after data was registered; earlier approvals are void."""
    from amends.governor.cases import deciding

    with screen.workspace() as workspace:
        deciding.replan(workspace, case)
        _show(screen, workspace, case)


@verb("cancel", example='amends cases cancel e-0123456789 --reason "withdrawn by the person"')
@click.argument("case")
@click.option("--reason", default="withdrawn", show_default=True, help="Why.")
def cancel(screen: Screen, case: str, reason: str) -> None:
    """Stop a case that nobody wants any more; what runs stops at its next step."""
    from amends.governor.cases import deciding

    with screen.workspace() as workspace:
        deciding.cancel(workspace, case, reason)
        _show(screen, workspace, case)


@verb(
    "extend",
    example='amends cases extend e-0123456789 --reason "many requests" --notice-sent-at 2026-03-20T12:00:00+01:00',
)
@click.argument("case")
@click.option("--reason", required=True, help="Why, as the person was told.")
@click.option("--notice-sent-at", required=True, metavar="ISO", help="When they were told: inside the first period.")
def extend(screen: Screen, case: str, reason: str, notice_sent_at: str) -> None:
    """Extend the clock once, as the regime allows."""
    from amends.governor.cases import deciding

    notice = read_time(notice_sent_at, "--notice-sent-at")
    with screen.workspace() as workspace:
        deciding.extend_case(workspace, case, reason, notice)
        _show(screen, workspace, case)


@verb("purge", example="amends cases purge --now")
@click.option("--now", is_flag=True, help="Do not wait for the policy's delay.")
def purge(screen: Screen, now: bool) -> None:
    """Purge every sealed case whose time has come: delete, scan for what is left, and attest."""
    from amends.governor.cases.viewing import case_view
    from amends.governor.work import carrying

    with screen.workspace() as workspace:
        done = [case_view(workspace, case.id) for case in carrying.purge_due(workspace, now)]
    rows = [(view["id"], view["status"], (view["certificate"] or {}).get("page")) for view in done]
    screen.show(done, Table(("case", "status", "certificate"), rows, "no case is due for purging"))


@verb("shred", example="amends cases shred")
def shred(screen: Screen) -> None:
    """Destroy the keys of cases whose retention is over, so that nobody reads their identifiers any more."""
    from amends.governor.subjects.shredding import shred_due

    with screen.workspace() as workspace:
        done = shred_due(workspace)
    screen.show(done, *(done or ["no case's retention is over"]))


COMMANDS = (mark, approve, deny, retry, replan, cancel, extend, purge, shred)


def _confirm(screen: Screen, view: casetext.View) -> None:
    if screen.as_json:
        raise BadInput("with --json nothing is asked; read the plan with `amends cases show` and give --yes")
    for line in (*casetext.case_lines(view), *casetext.lines_of_plan(view["plan"])):
        screen.say(line)
    if not screen.ask(f"approve plan {view['plan_digest'][:12]}?"):
        raise Denied(f"you did not approve case {view['id']}; nothing was changed")


def _show(screen: Screen, workspace: Workspace, case: str) -> dict[str, Any]:
    from amends.governor.cases.viewing import case_view

    view = case_view(workspace, case)
    steps = casetext.next_steps(view)
    screen.show({**view, "next": steps}, *casetext.case_lines(view), *steps)
    return view
