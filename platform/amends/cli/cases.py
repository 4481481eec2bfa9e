"""`amends cases`: follow requests. What people do to them is in `deciding`."""

from __future__ import annotations

import time
from pathlib import Path

import click

from amends.cli import casetext
from amends.cli.casetext import View
from amends.cli.deciding import COMMANDS
from amends.cli.familytext import family_lines
from amends.cli.output import Screen, writing
from amends.cli.tables import Table, coloured
from amends.cli.verbs import group

COLUMNS = ("case", "opened by", "kind", "model", "status", "time left", "asked by", "approvals missing", "outcome")
COLOURS = {"failed": "red", "denied": "red", "awaiting review": "yellow", "awaiting approval": "yellow"}
POLL_SECONDS = 1.0

cases = group("cases", "Follow, review, approve and carry out requests.")
for _command in COMMANDS:
    cases.add_command(_command)


@cases.verb("list", example="amends cases list --mine")
@click.option("--mine", is_flag=True, help="Those that you asked for or decided on.")
@click.option("--status", default="", metavar="STATUS", help='Those that stand there, such as "awaiting approval".')
@click.option("--model", default="", metavar="NAME", help="Those about this model.")
@click.option("--limit", type=click.IntRange(0), default=100, show_default=True, help="At most so many; 0 for all.")
def list_cases(screen: Screen, mine: bool, status: str, model: str, limit: int) -> None:
    """List cases by due date, overdue ones in red."""
    from amends.governor.cases.viewing import case_list

    with screen.workspace() as workspace:
        found = case_list(workspace, mine=mine, status=status, model=model, limit=limit)
    rows = [
        (c["id"], c["parent"], c["kind"], c["model"], coloured(c["status"], COLOURS), casetext.time_left(c),
         c["requester"], c["missing_approvals"] or None, c["outcome"])
        for c in found
    ]  # fmt: skip
    screen.show(found, Table(COLUMNS, rows, "there is no such case"))


@cases.verb("show", example="amends cases show e-0123456789 --near")
@click.argument("case")
@click.option("--near", is_flag=True, help="Show the text of near misses, to a dpo or operator who decides about them.")
def show(screen: Screen, case: str, near: bool) -> None:
    """Show a case: its plan, near misses, readings, rules, approvals, steps, and who has to do what next."""
    from amends.governor.cases.viewing import case_view, near_texts

    with screen.workspace() as workspace:
        view = case_view(workspace, case)
        texts = near_texts(workspace, case) if near else {}
    misses = [{**miss, "text": texts.get(miss["record_id"])} if near else miss for miss in view["near_misses"]]
    document = {**view, "near_misses": misses, "next": casetext.next_steps(view)}
    plan = casetext.lines_of_plan(view["plan"] or {})
    screen.show(
        document,
        *casetext.case_lines(view),
        *family_lines(view),
        *plan,
        *([f"plan digest: {view['plan_digest']}"] if view["plan_digest"] else []),
        *([casetext.near_table(view, texts)] if view["near_misses"] else []),
        *_approvals(view),
        *casetext.tried_tables(view),
        *casetext.evidence_tables(view),
        *_steps(view),
        *casetext.next_steps(view),
    )


@cases.verb("watch", example="amends cases watch e-0123456789")
@click.argument("case")
def watch(screen: Screen, case: str) -> int:
    """Follow a case until it ends or waits for somebody."""
    from amends.governor.cases.viewing import case_view

    with screen.workspace() as workspace:
        told = 0
        while True:
            view = case_view(workspace, case)
            for event in view["timeline"][told:]:
                screen.say(f"{event['at'][:19]} {event['action']} by {event['by']}")
            told = len(view["timeline"])
            if view["status"] not in ("in progress", "locating"):
                break
            time.sleep(POLL_SECONDS)
    screen.show({**view, "next": casetext.next_steps(view)}, *casetext.case_lines(view), *casetext.next_steps(view))
    return casetext.exit_code(view)


@cases.verb("report", example="amends cases report e-0123456789 --output report.html")
@click.argument("case")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write the page into this file.")
def report(screen: Screen, case: str, output: Path | None) -> None:
    """Write a case as one page to read, print and keep: its certificate, or a report of how it stands.

    Where nothing was attested, the page is not signed and says so at its head.
    """
    from amends.governor.cases.reporting import report_case
    from amends.governor.cases.viewing import case_view

    with screen.workspace() as workspace:
        made = report_case(workspace, case, casetext.next_steps(case_view(workspace, case)))
    document = {"case": case, "is_signed": made.is_signed}
    if output is None:
        screen.show({**document, "page": made.page}, made.page)
        return
    with writing(output):
        output.write_text(made.page, encoding="utf-8")
    said = "its signed page" if made.is_signed else "a report of it as it stands, not signed"
    screen.show({**document, "file": str(output)}, f"case {case}: {said}, is in {output}")


def _approvals(view: View) -> list[Table]:
    rows = [
        (
            a["person"],
            a["role"],
            a["decision"],
            f"{a['at']:%Y-%m-%d %H:%M}",
            "void: the plan changed" if a["voided_at"] else "",
        )
        for a in view["approvals"]
    ]
    return [Table(("decided by", "role", "decision", "at", "state"), rows)] if rows else []


def _steps(view: View) -> list[Table]:
    events = [(event["at"][:19], event["action"], event["by"]) for event in view["timeline"]]
    steps = [(step["step"], f"{step['seconds'] or 0:.1f} s") for step in view["steps"]]
    tables = [Table(("when", "what", "by"), events)]
    return [*tables, Table(("step", "took"), steps)] if steps else tables
