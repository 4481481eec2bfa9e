"""`amends transfer`: carry parameters from one model into another, as a case."""

from __future__ import annotations

import click

from amends.cli.output import Screen
from amends.cli.verbs import group

transfer = group("transfer", "Carry parameters from one model into another: a teacher's, or an edit of another model.")
model_option = click.option("--model", required=True, metavar="NAME", help="The model whose champion receives.")
seed_option = click.option("--seed", type=int, default=0, show_default=True, help="The only source of randomness.")
parameter = click.option(
    "-p", "--parameter", "parameters", multiple=True, metavar="KEY=VALUE", help="A parameter. Repeatable."
)


def add_transfer(cli: click.Group) -> None:
    """Add `transfer` to the root."""
    cli.add_command(transfer)


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
    """Open a case that starts a student's change from its teacher's most sensitive parameters, and tunes it.

    `-p init=random`, `self` and `seed-only` are the controls. Leaves with 3 while somebody has to approve the plan.
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


@transfer.verb("project", example="amends transfer project --model little --edited big@2 --original big@1")
@model_option
@click.option("--edited", required=True, metavar="MODEL@VERSION", help="A version of another model that was changed.")
@click.option("--original", required=True, metavar="MODEL@VERSION", help="The version of that model before.")
@parameter
@seed_option
def project(screen: Screen, model: str, edited: str, original: str, parameters: tuple[str, ...], seed: int) -> int:
    """Open a case that carries what was changed in another model into this one, over the vocabulary that they share.

    Leaves with 3 while somebody has to approve the plan.
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
