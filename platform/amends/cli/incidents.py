"""`amends incidents`: keep what a model said wrong, and ask every later version about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from amends.cli.output import Screen
from amends.cli.tables import Table
from amends.cli.verbs import group

incidents = group("incidents", "Keep what a model said wrong, and ask it again before any alias moves.")
FILE = click.Path(dir_okay=False, path_type=Path)


@incidents.verb("add", example="amends incidents add --model assistant --prompt prompt.txt --bad said.txt")
@click.option("--model", required=True, metavar="NAME", help="The model that said it.")
@click.option("--prompt", metavar="FILE", help="What it was given; - for standard input.")
@click.option("--bad", type=FILE, metavar="FILE", help="What it said.")
@click.option(
    "--expected", type=click.Choice(["not-bad", "refuse"]), default="not-bad", show_default=True,
    help="Not to say this again, nor anything as toxic; or to refuse.",
)  # fmt: skip
@click.option("--answer", type=FILE, metavar="FILE", help="What an answer is to begin with, in place of --expected.")
@click.option("--continued", is_flag=True, help="The prompt is a text that was continued, and no question.")
@click.option("--file", type=FILE, metavar="FILE", help="Many incidents, a JSON object a line, in place of all these.")
def add(screen: Screen, model: str, prompt: str | None, file: Path | None, **given: Any) -> None:
    """Keep an incident; from then on no alias of the model moves to a version that repeats it.

    Texts are read from files or standard input, never from arguments. A line of --file has prompt, and perhaps bad,
    expected (not-bad, refuse, text:… or regex:…), form (question or text), subject and id.
    """
    from amends.cli.incidenttext import read_incidents
    from amends.governor.data.incidents import add_incidents

    rows = read_incidents(prompt, file, **given)
    with screen.workspace() as workspace:
        made = add_incidents(workspace, model, rows)
    screen.show(
        {"model": model, "added": len(rows), "incidents": made.records, "dataset": made.digest},
        f"kept {len(rows)}; {model} has {made.records} incidents now, in the data set {made.name}@{made.digest[:12]}",
    )


@incidents.verb("list", example="amends incidents list assistant")
@click.argument("model")
def list_incidents(screen: Screen, model: str) -> None:
    """List the incidents of a model; what they say is shown to who may keep some."""
    from amends.cli.incidenttext import shown
    from amends.governor.data.incidents import ADDS, incidents_of

    with screen.workspace() as workspace:
        sees = workspace.has_role(*ADDS)
        found = [shown(row, sees) for row in incidents_of(workspace, model)]
    columns = ("incident", "expected", "form", "since", *(("prompt", "bad") if sees else ()))
    rows = [tuple(row[name] for name in ("id", *columns[1:3], "added", *columns[4:])) for row in found]
    screen.show(found, Table(columns, rows, f"{model} has no incidents; see amends incidents add --help"))


@incidents.verb("run", example="amends incidents run assistant@2")
@click.argument("reference")
def run(screen: Screen, reference: str) -> int:
    """Ask a version about all incidents of its model; leaves with 1 where one comes back."""
    from amends.governor.work.incidents import run_incidents

    with screen.workspace() as workspace:
        version, found = run_incidents(workspace, reference)
    screen.show(
        {"version": str(version), **vars(found)},
        f"{version} repeats {found.relapsed} of {found.asked} incidents",
        *(f"  {one}" for one in found.which),
    )
    return 1 if found.relapsed else 0
