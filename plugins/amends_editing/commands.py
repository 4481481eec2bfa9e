"""`amends edit`: change what a model knows, and say which edits it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from amends import BadInput
from amends.cli.output import Screen
from amends.cli.tables import Table
from amends.cli.values import values_for
from amends.cli.verbs import group

FORMATS = ("edits", "counterfact", "knowedit", "zsre")
TRIED = 3  # edits that --try shows
FILE = click.Path(dir_okay=False, path_type=Path)


HELP = """Insert, modify or erase facts in a model, and say which edits a version holds.

With options and no command it does what `apply` does: amends edit --model assistant --edits facts.jsonl
"""

edit = group("edit", HELP, default="apply", short_help="Insert, modify or erase facts in a model.")
edits_file = click.option("--edits", "file", type=FILE, required=True, metavar="FILE", help="The facts to change.")
format_option = click.option(
    "--format", "format", type=click.Choice(FORMATS), help="What the file is written in; by default it is recognised."
)


def add_edit(cli: click.Group) -> None:
    """Add `edit` to the root."""
    cli.add_command(edit)


@edit.verb("apply", example="amends edit apply --model assistant --edits facts.jsonl --method editing.memit")
@click.option("--model", required=True, metavar="NAME", help="The model to change.")
@edits_file
@format_option
@click.option("--method", default="", metavar="OPERATION", help="What edits; by default the policy's first choice.")
@click.option("--text", type=FILE, help="Text to measure the model's activations on, one passage a line.")
@click.option("-p", "--parameter", "parameters", multiple=True, metavar="KEY=VALUE", help="A parameter. Repeatable.")
@click.option("--seed", type=int, default=0, show_default=True, help="The only source of randomness.")
@click.option("--name", default="", help="The data set's name; by default the file's.")
@click.option("--leave-out", is_flag=True, help="Leave out edits that the check refuses, instead of the whole file.")
@click.option("--drop-suppressed", is_flag=True, help="Leave out edits that name somebody who was erased.")
@click.option(
    "--trace/--no-trace", default=True, show_default=True, help="Measure first which layers suit a model that is new."
)
@click.option("--try", "is_trial", is_flag=True, help=f"Show what the first {TRIED} edits change; nothing is kept.")
def apply(screen: Screen, model: str, file: Path, format: str | None, is_trial: bool, **given: Any) -> int:
    """Open a case that edits a model, and carry it on as far as nobody has to approve.

    The file has a JSON object a line: subject, prompt, target, and perhaps verb, old, rephrases, neighbours.
    CounterFact, KnowEdit and zsRE are read as they are. Leaves with 3 while somebody has to approve the plan.
    """
    from amends_editing import screening, workflow
    from amends_editing.settings import check_settings

    if "@" in model and not is_trial:
        raise BadInput("edits are made to a model's champion; give the model's name alone")
    with screen.workspace() as workspace:
        values = values_for(given["method"], given["parameters"])
        check_settings(given["method"], values)
        checked = screening.checked_rows(screen, workspace, model, file, format or "", given["leave_out"])
        rows, contradictions = checked
        request = workflow.Request(model, given["method"], values, given["seed"], given["text"], given["trace"])
        workflow.check_request(workspace, request, rows)
        if is_trial:
            return workflow.show_trial(screen, workspace, request, rows[:TRIED])
        name = given["name"] or file.stem
        return workflow.open_and_follow(
            screen, workspace, request, rows, contradictions, name, file, given["drop_suppressed"]
        )


@edit.verb("check", example="amends edit check facts.jsonl --model assistant")
@click.argument("file", type=FILE)
@format_option
@click.option("--model", default="", metavar="MODEL", help="Compare with the edits that this version holds, too.")
def check(screen: Screen, file: Path, format: str | None, model: str) -> int:
    """Check a file of edits: alone, against each other, and against a version's own; 2 if it would be refused."""
    from amends_editing import screening

    found = screening.check_file(screen, file, format or "", model)
    screen.show(found, *screening.said(found))
    return BadInput.exit_code if found.errors else 0


@edit.verb("list", example="amends edit list assistant@champion")
@click.argument("model")
@click.option("--all", "with_replaced", is_flag=True, help="Edits that a later step replaced, too.")
def list_edits(screen: Screen, model: str, with_replaced: bool) -> None:
    """List the edits that a version holds; whom they are about is shown to who may register data."""
    from amends_editing import holding

    with screen.workspace() as workspace:
        held = holding.held_edits(workspace, holding.resolve(workspace, model))
        shown = [one for one in held if with_replaced or not one.replaced_by]
        sees = workspace.has_role(*holding.SEES)
    rows = [
        (one.shown_id(sees), one.row["verb"], one.row["subject"] if sees else None, one.step, one.operation,
         one.dataset[:12], f"replaced in step {one.replaced_by}" if one.replaced_by else "in force")
        for one in shown
    ]  # fmt: skip
    columns = ("edit", "verb", "subject", "step", "operation", "data", "state")
    screen.show([one.to_json(sees) for one in shown], Table(columns, rows, f"{model} holds no edits"))


@edit.verb("show", example="amends edit show assistant@champion capital-of-brenn")
@click.argument("model")
@click.argument("id")
def show(screen: Screen, model: str, id: str) -> None:
    """Show what an edit of a version says, to who may register data."""
    from amends_editing import holding

    with screen.workspace() as workspace:
        workspace.require_role(*holding.SEES)
        found = holding.find_edits(holding.held_edits(workspace, holding.resolve(workspace, model)), id)
    lines = []
    for one in found:
        state = f"replaced in step {one.replaced_by}" if one.replaced_by else "in force"
        lines.append(f"edit {one.id}: {one.row['verb']} in step {one.step} by {one.operation}, {state}")
        lines += [f"  {name}: {one.row[name]}" for name in ("prompt", "target", "old") if one.row.get(name)]
        lines += [f"  rephrase: {rephrase}" for rephrase in one.row.get("rephrases", ())]
    screen.show([one.to_json(with_text=True) for one in found], *lines)


@edit.verb("diff", example="amends edit diff assistant@1 assistant@2")
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
def diff(screen: Screen, first: str, second: str) -> None:
    """Say which edits only one of two versions holds."""
    from amends_editing import holding

    with screen.workspace() as workspace:
        a, b = (holding.held_edits(workspace, holding.resolve(workspace, model)) for model in (first, second))
        gone, new = holding.difference(a, b)
        sees = workspace.has_role(*holding.SEES)
    sides = [(first, one) for one in gone] + [(second, one) for one in new]
    rows = [
        (where, one.shown_id(sees), one.row["verb"], one.row["subject"] if sees else None, one.step)
        for where, one in sides
    ]
    document = {side: [one.to_json(sees) for one in some] for side, some in (("only_a", gone), ("only_b", new))}
    screen.show(document, Table(("only in", "edit", "verb", "subject", "step"), rows, "they hold the same edits"))


@edit.verb("drop", example="amends edit drop assistant capital-of-brenn")
@click.argument("model")
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.option("--step", type=click.IntRange(1), help="Which step's, where several have an edit of that id.")
def drop(screen: Screen, model: str, ids: tuple[str, ...], step: int | None) -> int:
    """Open a case that rebuilds a model from the version before a step, with the edits that are left.

    The result is bit-equal to that sequence: nothing is subtracted. Leaves with 3 while somebody has to approve.
    """
    from amends_editing import workflow

    if "@" in model:
        raise BadInput("edits are dropped from a model's champion; give the model's name alone")
    with screen.workspace() as workspace:
        return workflow.drop_and_follow(screen, workspace, model, ids, step or 0)


@edit.verb("trace", example="amends edit trace --model assistant --facts known.jsonl --text wiki.txt")
@click.option("--model", required=True, metavar="MODEL", help="The version to look into.")
@click.option("--facts", "file", type=FILE, required=True, metavar="FILE", help="Facts that it may know, as edits.")
@format_option
@click.option(
    "--text", type=FILE, help="Text to measure activations on, one passage a line; without it nothing is tried."
)
@click.option("--picture", type=FILE, help="Where to draw the heat map, a PNG; by default here, named after the model.")
@click.option("--seed", type=int, default=0, show_default=True, help="The only source of randomness.")
def trace(
    screen: Screen, model: str, file: Path, format: str | None, text: Path | None, picture: Path | None, seed: int
) -> None:
    """Measure which layers carry facts that a model knows, and propose layers and settings for the methods.

    A fact is an edit's record: `old` is what the model may know, `target` what it finds less likely. With text, a few
    sets of layers are tried on these facts, and the best is what edits of this model take by default from then on.
    """
    from amends_editing import workflow
    from amends_editing.files import read_edits

    rows = read_edits(file, format or "")
    with screen.workspace() as workspace:
        workflow.show_trace(screen, workspace, model, rows, text, picture, seed)
