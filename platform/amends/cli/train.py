"""`amends train`: make a version whose subjects can be erased exactly."""

from __future__ import annotations

from pathlib import Path

import click

from amends.cli.output import Screen
from amends.cli.tables import Table
from amends.cli.values import read_values
from amends.cli.verbs import verb


@verb("train", example="amends train --base smollm2@1 --data people --model assistant -p shards=4")
@click.option("--base", required=True, metavar="MODEL@VERSION", help="The version to start from.")
@click.option("--data", required=True, metavar="NAME", help="A registered data set: name, digest or NAME@DIGEST.")
@click.option("--model", required=True, metavar="NAME", help="The name of the model that comes out.")
@click.option("--operation", default="training.shards", show_default=True, help="What trains.")
@click.option("-p", "--parameter", "parameters", multiple=True, metavar="KEY=VALUE", help="A parameter. Repeatable.")
@click.option("--seed", type=int, default=0, show_default=True, help="The only source of randomness.")
@click.option(
    "--state", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIRECTORY",
    help="What a run of this operation left elsewhere: checked, and taken over.",
)  # fmt: skip
def train(
    screen: Screen, base: str, data: str, model: str, operation: str, parameters: tuple[str, ...], seed: int,
    state: Path | None,
) -> None:  # fmt: skip
    """Train a model durably; its first version becomes `champion`.

    `amends operations training.shards` lists the parameters.
    """
    from amends.governor import offering
    from amends.governor.work import carrying

    values = read_values(parameters, offering.operation(operation)["parameters"])
    with screen.workspace() as workspace:
        case, steps = carrying.train(
            workspace, base=base, data=data, model=model, operation=operation, parameters=values, seed=seed, state=state
        )
    version, alias = steps["register"]["version"], steps["promote"]["alias"]
    readings = [(r["name"], r["value"], r["low"], r["high"], r["n"], r["unit"]) for r in steps["measure"]["after"]]
    document = {
        **{"case": case.id, "model": model, "version": version, "digest": steps["register"]["digest"], "alias": alias},
        "readings": steps["measure"]["after"],
        "seconds": {name: step.get("step_seconds") for name, step in steps.items()},
    }
    screen.show(
        document,
        f"{model}@{version} is trained" + (f" and is {alias} now" if alias else "; no alias was moved"),
        Table(("reading", "value", "low", "high", "n", "unit"), readings, "nothing was read"),
    )
