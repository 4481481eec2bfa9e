"""`amends detox`: make a model less toxic, and keep the scorers that say so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from amends.cli.output import Screen, writing
from amends.cli.tables import Table
from amends.cli.verbs import group

HELP = """Make a model less toxic, under a budget for everything else, and keep the scorers that say so.

With options and no command it does what `apply` does: amends detox --model smollm2 --prompts prompts.jsonl
"""
SHORT = "Make a model less toxic, under a budget for everything else."

detox = group("detox", HELP, default="apply", short_help=SHORT)
FILE = click.Path(dir_okay=False, path_type=Path)
TASKS = click.Path(path_type=Path)
DIRECTORY = click.Path(file_okay=False, path_type=Path)


def add_detox(cli: click.Group) -> None:
    """Add `detox` to the root."""
    cli.add_command(detox)


@detox.verb("apply", example="amends detox apply --model smollm2 --prompts prompts.jsonl --pairs pairs.jsonl")
@click.option("--model", required=True, metavar="NAME", help="The model to change.")
@click.option(
    "--prompts", type=FILE, required=True, metavar="FILE", help="Texts to be continued, a JSON object a line."
)
@click.option(
    "--hardest", type=click.IntRange(0), default=0, help="Keep so many prompts, by their scores; 0 keeps all."
)
@click.option("--pairs", type=FILE, metavar="FILE", help="Toxic and neutral texts; without, the model makes its own.")
@click.option("--text", type=FILE, metavar="FILE", help="Plain text, a passage a line, that is to stay as it is.")
@click.option("--tasks", type=TASKS, metavar="PATH", help="What utility.tasks asks: JSON Lines, or lm-eval's YAML.")
@click.option("--most-pairs", type=click.IntRange(0), default=0, help="Keep so many pairs; 0 keeps all.")
@click.option("--method", default="", metavar="OPERATION", help="Run this alone; by default the policy's are searched.")
@click.option("-p", "--parameter", "parameters", multiple=True, metavar="KEY=VALUE", help="A parameter. Repeatable.")
@click.option("--seed", type=int, default=0, show_default=True, help="The only source of randomness.")
@click.option("--name", default="", help="What the data sets are called; by default as the prompts' file.")
@click.option("--drop-suppressed", is_flag=True, help="Leave out prompts that name somebody who was erased.")
def apply(screen: Screen, method: str, parameters: tuple[str, ...], drop_suppressed: bool, **given: Any) -> int:
    """Open a case that makes a model less toxic, and carry it on as far as nobody has to approve.

    The prompts are split once by digest: candidates are searched on some, and the best is judged on the others. A line
    is {"prompt": …}, or as RealToxicityPrompts has it; a pair {"toxic": …, "neutral": …}, perhaps with the prompt that
    both continue, or a table as ParaDetox has. Leaves with 3 while somebody has to approve the plan.
    """
    from amends.cli.values import values_for
    from amends_detox import workflow

    request = workflow.Request(method=method, parameters=values_for(method, parameters), **given)
    with screen.workspace() as workspace:
        return workflow.open_and_follow(screen, workspace, request, drop_suppressed)


@detox.verb("tasks", example="amends detox tasks ./capitals --output tasks.jsonl")
@click.argument("place", type=TASKS, metavar="PATH")
@click.option("--output", type=FILE, metavar="FILE", help="Write the rows as JSON Lines.")
def tasks(screen: Screen, place: Path, output: Path | None) -> None:
    """Say what utility.tasks would ask of a file of tasks, or of a folder with tasks in lm-eval's form."""
    from collections import Counter

    from amends.records import canonical_json
    from amends_detox.files import read_tasks
    from amends_detox.tasks import CHECKS

    rows = read_tasks(place)
    if output is not None:
        with writing(output):
            output.write_bytes(b"".join(canonical_json(row) + b"\n" for row in rows))
    checks = [next(name for name in CHECKS if row.get(name)) for row in rows]
    counted = Counter((str(row.get("task", "-")), check) for row, check in zip(rows, checks, strict=True))
    shown = [(name, check, count) for (name, check), count in sorted(counted.items())]
    found = [{"task": name, "check": check, "rows": count} for name, check, count in shown]
    screen.show(found, Table(("task", "checked by", "rows"), shown))


@detox.verb("scorers", example="amends detox scorers")
def scorers(screen: Screen) -> None:
    """List the scorers of toxicity with their versions, attributes and licences; one that cannot be used says why."""
    from amends_detox.scoring.listing import list_scorers

    found = list_scorers()
    rows = [
        (one["name"], one["version"] or one["problem"], ", ".join(one["attributes"]), one["licence"]) for one in found
    ]
    screen.show(found, Table(("scorer", "version", "attributes", "licence"), rows))


@detox.verb("fit-scorer", example="amends detox fit-scorer --data rtp.jsonl --output heads/mine")
@click.option(
    "--data", "file", type=FILE, required=True, metavar="FILE", help="Texts, as RealToxicityPrompts has them."
)
@click.option("--output", type=DIRECTORY, required=True, metavar="DIR", help="Where the head is written.")
@click.option(
    "--held-out", type=click.IntRange(0), default=2000, show_default=True, help="Texts of half B to try it on."
)
@click.option(
    "--hidden", type=click.IntRange(0), default=0, show_default=True, help="Units of a hidden layer; 0: none."
)
@click.option("--ridge", type=float, default=1e-4, show_default=True, help="What large weights cost.")
@click.option("--seed", type=int, default=0, show_default=True, help="The only source of randomness.")
def fit_scorer(screen: Screen, file: Path, output: Path, held_out: int, hidden: int, ridge: float, seed: int) -> None:
    """Fit a head of the scorer minilm on texts with scores: used as minilm:DIR.

    Only lines whose prompt's sha256 begins with a byte below 0x80 are fitted on, half A of the file; half B is for
    trying the head and for every later evaluation.
    """
    from amends_detox.scoring.fitting import Fit
    from amends_detox.scoring.head import write_head
    from amends_detox.scoring.training import train_head

    with writing(output):
        output.mkdir(parents=True, exist_ok=True)  # before what takes minutes
    head = train_head(file, Fit(hidden, ridge, seed), held_out, screen.progress.bar)
    with writing(output):
        write_head(output, head)
    areas = head.facts["held_out"]["auc"]
    screen.show(
        {"output": str(output), "digest": head.digest, **head.facts},
        f"fitted on {head.facts['texts']} texts, tried on {head.facts['held_out']['texts']} others",
        f"use it as minilm:{output}",
        Table(("attribute", "AUC"), list(areas.items()), "nothing was held out"),
    )


@detox.verb("card", example="amends detox card ensemble --data safety")
@click.argument("scorer")
@click.option("--data", type=DIRECTORY, required=True, metavar="DIR", help="Public sets, named as their authors do.")
@click.option("--output", type=DIRECTORY, metavar="DIR", help="Write card.json and card.md there.")
def card(screen: Screen, scorer: str, data: Path, output: Path | None) -> None:
    """Measure what a scorer is right and wrong about, on sets that nobody fitted it on.

    The sets are surge_toxicity_en.csv, hatecheck_cases.csv, toxigen_demonstrations.jsonl, rtp_val5k.jsonl (half B) and
    paradetox.tsv; those that are missing are left out.
    """
    import json

    from amends.cli.output import plain
    from amends_detox.scoring import find
    from amends_detox.scoring.card import make_card
    from amends_detox.scoring.held_out import read_sets
    from amends_detox.scoring.page import render_card

    if output is not None:
        with writing(output):
            output.mkdir(parents=True, exist_ok=True)
    made = make_card(find(scorer), read_sets(data), screen.progress.bar)
    page = render_card(made)
    if output is not None:
        with writing(output):
            (output / "card.json").write_text(json.dumps(plain(made), indent=2) + "\n", encoding="utf-8")
            (output / "card.md").write_text(page, encoding="utf-8")
    screen.show(made, page)
