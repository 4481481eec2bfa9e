"""`amends data`: register, list and show training data."""

from __future__ import annotations

from pathlib import Path

import click

from amends.cli.output import Screen
from amends.cli.tables import Table
from amends.cli.verbs import group

data = group("data", "Register training data that knows whose it is.")


@data.verb("register", example="amends data register people.jsonl --subject-field person --identifier name,email,phone")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--name", default="", help="The data set's name; by default the file's.")
@click.option(
    "--subject-field", default="person", show_default=True, help="The field that names the person or persons."
)
@click.option("--identifier", "identifiers", multiple=True, metavar="FIELD,…", help="Fields that identify the person.")
@click.option("--controls", type=float, default=0.05, show_default=True, help="Share of persons never trained on.")
@click.option(
    "--drop-suppressed", is_flag=True, help="Leave out records of erased persons instead of refusing the file."
)
@click.option("--licence", default="", metavar="ID", help="What the data is under, such as CC-BY-4.0: declared.")
def register(
    screen: Screen,
    file: Path,
    name: str,
    subject_field: str,
    identifiers: tuple[str, ...],
    controls: float,
    drop_suppressed: bool,
    licence: str,
) -> None:
    """Copy a JSON Lines file into the workspace, index whose it is, and withhold controls.

    Each line has `prompt` and `answer`, and may have `paraphrases` and `wrong` (lists) beside the person's fields.
    """
    from amends.governor.data import registering

    fields = [field.strip() for given in identifiers for field in given.split(",") if field.strip()]
    with screen.workspace() as workspace:
        made = registering.register(
            workspace, name or file.stem, file, subject_field=subject_field, identifier_fields=fields,
            controls=controls, drop_suppressed=drop_suppressed, licence=licence,
        )  # fmt: skip
    sharing = [(size, count) for size, count in made.groups.items()]
    screen.show(
        made,
        f"{made.name}@{made.digest[:12]}: {made.records} records of {made.subjects} persons",
        f"withheld as controls: {made.withheld} records of {made.controls} persons; dropped: {made.dropped}",
        f"persons with more than one e-mail address or phone number: {made.ambiguous}",
        Table(("persons sharing a record", "records"), sharing, "no record names more than one person"),
    )


@data.verb("list", example="amends data list")
def list_data(screen: Screen) -> None:
    """List the registered data sets."""
    from amends.governor import listing

    with screen.workspace() as workspace:
        found = listing.data(workspace)
    rows = [
        (
            d["name"],
            d["digest"][:12],
            d["records"],
            d["subjects"],
            d["controls"],
            d["status"],
            f"{d['registered_at']:%Y-%m-%d}",
        )
        for d in found
    ]
    columns = ("name", "digest", "records", "persons", "controls", "status", "since")
    screen.show(found, Table(columns, rows, "nothing is registered yet; see amends data register --help"))


@data.verb("show", example="amends data show people")
@click.argument("reference")
def show(screen: Screen, reference: str) -> None:
    """Show a data set by name, digest or NAME@DIGEST, with the versions that learnt from it."""
    from amends.governor import listing

    with screen.workspace() as workspace:
        found = listing.dataset(workspace, reference)
    screen.show(
        found,
        f"{found['name']}@{found['digest']} is {found['status']}",
        f"{found['records']} records of {found['subjects']} persons, {found['controls']} of them controls",
        f"your own file stays outside: sha256 {found['external_sha256']}",
        f"learnt by: {', '.join(found['versions']) or 'no version yet'}",
    )
