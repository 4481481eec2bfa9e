"""`amends distill`: teach a student from a teacher, as a case."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from amends.cli.output import Screen
from amends.cli.verbs import verb

FILE = click.Path(dir_okay=False, path_type=Path)


def add_distill(cli: click.Group) -> None:
    """Add `distill` to the root."""
    cli.add_command(distill)


@verb("distill", example="amends distill --teacher smollm2@1 --text wiki.txt --student little -p layers=10")
@click.option("--teacher", required=True, metavar="MODEL@VERSION", help="The version to learn from.")
@click.option("--text", type=FILE, required=True, metavar="FILE", help="Plain text to teach on, a passage a line.")
@click.option("--student", required=True, metavar="NAME", help="The model that learns; a new name makes a new one.")
@click.option("--method", default="distillation.logit", show_default=True, metavar="OPERATION", help="How it learns.")
@click.option("--held-out", type=float, default=0.1, show_default=True, help="Share of the text that only judges.")
@click.option("--forget", type=FILE, metavar="FILE", help="Questions and answers that the teacher was made to forget.")
@click.option("--control", type=FILE, metavar="FILE", help="The same that no model has seen, to compare those with.")
@click.option("--forbidden", type=FILE, metavar="FILE", help="Prompts, and what the teacher was cured of saying.")
@click.option("-p", "--parameter", "parameters", multiple=True, metavar="KEY=VALUE", help="A parameter. Repeatable.")
@click.option("--seed", type=int, default=0, show_default=True, help="The only source of randomness.")
@click.option("--name", default="", help="What the data sets are called; by default as the text's file.")
@click.option("--drop-suppressed", is_flag=True, help="Leave out text that names somebody who was erased.")
def distill(screen: Screen, method: str, parameters: tuple[str, ...], drop_suppressed: bool, **given: Any) -> int:
    """Teach a student model from a teacher.

    This opens a case and carries it on as far as nobody has to approve. Part of the text is held out by digest: the
    student is judged on what it was not taught. A line of --forget and of --control is {"prompt": …, "answer": …}, a
    line of --forbidden {"prompt": …, "forbidden": […]}; they are asked of the student and never taught. Where teacher
    or student was cured, or erased from other than exactly, one of these must be given. Leaves with 3 while somebody
    has to approve the plan.
    """
    from amends.cli.values import values_for
    from amends_distillation import workflow

    request = workflow.Request(method=method, parameters=values_for(method, parameters), **given)
    with screen.workspace() as workspace:
        return workflow.open_and_follow(screen, workspace, request, drop_suppressed)
