"""`amends rag apply`: ground a model in documents, as a case that is measured, judged and promoted like any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from amends.cli.output import Screen
from amends_rag.commands import DOCUMENTS, add_rag, rag

FILE = click.Path(dir_okay=False, path_type=Path)
METHODS = ("rag.context", "rag.replug", "rag.knn-lm", "rag.memory")


def add_all(cli: click.Group) -> None:
    """Add `rag` with `apply` and all that belongs to indexes to the root."""
    add_rag(cli)


@rag.verb("apply", example="amends rag apply --model assistant --documents handbook.md --questions asked.jsonl")
@click.option("--model", required=True, metavar="NAME", help="The model to ground.")
@DOCUMENTS
@click.option("--method", type=click.Choice(METHODS), default="rag.context", show_default=True, help="How.")
@click.option(
    "--questions", type=FILE, metavar="FILE",
    help="Questions with right answers, which judge what reads passages; a JSON object a line.",
)  # fmt: skip
@click.option("--text", type=FILE, metavar="FILE", help="Held-out text, which judges what changes every next token.")
@click.option("-p", "--parameter", "parameters", multiple=True, metavar="KEY=VALUE", help="A parameter. Repeatable.")
@click.option("--seed", type=int, default=0, show_default=True, help="The only source of randomness.")
@click.option("--name", default="", help="What the data sets are called; by default as the model.")
@click.option("--drop-suppressed", is_flag=True, help="Leave out documents that name somebody who was erased.")
def apply(
    screen: Screen,
    documents: tuple[Path, ...],
    method: str,
    parameters: tuple[str, ...],
    drop_suppressed: bool,
    **given: Any,
) -> int:
    """Open a case that grounds a model in documents, and carry it on as far as nobody has to approve.

    A question is {"prompt": …, "answer": …}, or has several right `answers`. What is found stands beside the weights,
    so that the version before it is one promotion away. Leaves with 3 while somebody has to approve the plan.
    """
    from amends.cli.values import values_for
    from amends_rag import applying

    values = values_for(method, parameters)
    request = applying.Request(documents=documents, method=method, parameters=values, **given)
    with screen.workspace() as workspace:
        return applying.open_and_follow(screen, workspace, request, drop_suppressed)
