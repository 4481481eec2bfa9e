"""`amends transfer`: carry parameters from one model into another, as a case, and see what an operation wrote."""

from __future__ import annotations

from pathlib import Path

import click

from amends.cli.output import Screen
from amends.cli.verbs import group, verb

transfer = group("transfer", "Carry parameters, an edit or whole blocks from one model into another.")
model_option = click.option("--model", required=True, metavar="NAME", help="The model whose champion receives.")
seed_option = click.option("--seed", type=int, default=0, show_default=True, help="The only source of randomness.")
parameter = click.option(
    "-p", "--parameter", "parameters", multiple=True, metavar="KEY=VALUE", help="A parameter. Repeatable."
)


def add_transfer(cli: click.Group) -> None:
    """Add `transfer` to the root, and `lens` to `models`."""
    cli.add_command(transfer)
    models = cli.commands.get("models")
    if isinstance(models, click.Group):
        models.add_command(lens)


@transfer.verb(
    "pkt", example="amends transfer pkt --model little --teacher big@1 --seeds few --records all --judge rest"
)
@model_option
@click.option("--teacher", required=True, metavar="MODEL@VERSION", help="The version whose parameters are carried.")
@click.option("--seeds", required=True, metavar="DATA", help="Registered records that show what is to be carried.")
@click.option("--records", required=True, metavar="DATA", help="Registered records that the student is tuned on.")
@click.option("--judge", required=True, metavar="DATA", help="Registered records that judge, and are not learnt from.")
@parameter
@seed_option
def pkt(
    screen: Screen,
    model: str,
    teacher: str,
    seeds: str,
    records: str,
    judge: str,
    parameters: tuple[str, ...],
    seed: int,
) -> int:
    """Start a student's change from its teacher's most telling parameters, and tune it.

    This opens a case. `-p init=random`, `self` and `seed-only` are the controls. Leaves with 3 while somebody has to
    approve the plan.
    """
    from amends.cli.following import follow
    from amends.cli.values import values_for
    from amends.governor.cases.changing import open_change

    with screen.workspace() as workspace:
        case = open_change(
            workspace, model=model, policy="transfer", operation="transfer.pkt",
            records={"seeds": seeds, "records": records}, judging={"retain": judge}, models={"teacher": teacher},
            parameters=values_for("transfer.pkt", parameters), seed=seed,
        )  # fmt: skip
        return follow(screen, workspace, case.id)


@transfer.verb("stitch", example="amends transfer stitch --model little --upper big@1 --below 6 --above 4 --judge rest")
@model_option
@click.option("--upper", required=True, metavar="MODEL@VERSION", help="The version whose last blocks are taken.")
@click.option("--below", type=int, required=True, help="How many of the model's own first blocks are kept.")
@click.option("--above", type=int, required=True, help="How many of the other's last blocks follow.")
@click.option("--judge", required=True, metavar="DATA", help="Registered records that judge.")
@parameter
@seed_option
def stitch(
    screen: Screen, model: str, upper: str, below: int, above: int, judge: str, parameters: tuple[str, ...], seed: int
) -> int:
    """Put the last blocks of another model on the first blocks of this one.

    This opens a case. Leaves with 3 while somebody has to approve the plan.
    """
    from amends.cli.following import follow
    from amends.cli.values import values_for
    from amends.governor.cases.changing import open_change

    given = {**values_for("transfer.stitch", parameters), "below": below, "above": above}
    with screen.workspace() as workspace:
        case = open_change(
            workspace, model=model, policy="transfer", operation="transfer.stitch", records={},
            judging={"retain": judge}, models={"upper": upper}, parameters=given, seed=seed,
        )  # fmt: skip
        return follow(screen, workspace, case.id)


@transfer.verb("project", example="amends transfer project --model little --edited big@2 --original big@1")
@model_option
@click.option("--edited", required=True, metavar="MODEL@VERSION", help="A version of another model that was changed.")
@click.option("--original", required=True, metavar="MODEL@VERSION", help="The version of that model before.")
@parameter
@seed_option
def project(screen: Screen, model: str, edited: str, original: str, parameters: tuple[str, ...], seed: int) -> int:
    """Carry what was changed in another model into this one, over the vocabulary that they share.

    This opens a case. Leaves with 3 while somebody has to approve the plan.
    """
    from amends.cli.following import follow
    from amends.cli.values import values_for
    from amends.governor.cases.changing import open_change

    with screen.workspace() as workspace:
        case = open_change(
            workspace, model=model, policy="projection", operation="transfer.project", records={},
            models={"edited": edited, "original": original},
            parameters=values_for("transfer.project", parameters), seed=seed,
        )  # fmt: skip
        return follow(screen, workspace, case.id)


@verb("lens", example="amends models lens assistant@2 --against assistant@1 --output lens.html")
@click.argument("reference", metavar="MODEL@VERSION")
@click.option("--against", default="", metavar="MODEL@VERSION", help="The version before; by default its parent.")
@click.option("--layer", "layers", type=int, multiple=True, help="A layer; by default those that changed most.")
@click.option("--neuron", "neurons", type=int, multiple=True, help="A neuron of the one layer. Repeatable.")
@click.option("--top", type=click.IntRange(1, 100), default=8, show_default=True, help="Tokens of a vector.")
@click.option("--most", type=click.IntRange(1, 100), default=4, show_default=True, help="Layers, and vectors of each.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="A picture: .svg or .html.")
def lens(
    screen: Screen,
    reference: str,
    against: str,
    layers: tuple[int, ...],
    neurons: tuple[int, ...],
    top: int,
    most: int,
    output: Path | None,
) -> None:
    """Show what the MLPs of a version write, as tokens, before and after an operation.

    First the directions of the change, then the neurons that changed most. A direction has two ends, and which of them
    is written depends on the text. Tokens may be personal data, so that only some roles are shown them.
    """
    from amends_distillation.transfer import picture, seeing

    with screen.workspace() as workspace:
        seen = seeing.look(workspace, reference, against, seeing.Look(layers, neurons, top, most))
    drawn = [] if output is None else [f"written: {picture.write(seen, output)}"]
    screen.show(seen.to_json(), *seen.parts(), *drawn)
