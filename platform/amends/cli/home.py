"""`amends init`, `doctor`, `backup`, `restore`, `version`: the workspace as a whole."""

from __future__ import annotations

from pathlib import Path

import click

from amends.cli.output import Screen
from amends.cli.tables import Marked, Table
from amends.cli.verbs import verb

COLOURS = {"ok": "green", "warn": "yellow", "broken": "red"}


@verb("init", example="amends init --admin Ada")
@click.option("--admin", default="admin", show_default=True, metavar="NAME", help="What the first admin is called.")
def init(screen: Screen, admin: str) -> None:
    """Make a workspace with its keys and first admin, whose token is shown this once.

    It lies at AMENDS_HOME, by default ./.amends.
    """
    from amends.governor.workspace import create_workspace

    workspace, token = create_workspace(admin=admin)
    workspace.close()
    screen.show(
        {"home": workspace.home, "admin": admin, "token": token},
        f"The workspace is at {workspace.home}. Keep this token; it is not shown again:",
        f"export AMENDS_TOKEN={token}",
        "Next: `amends people add NAME --role ROLE` for each person, and `amends models import smollm2`.",
    )


@verb("doctor", example="amends doctor --json")
@click.option("--deep", is_flag=True, help="Start the scheduler too, and read every version back.")
def doctor(screen: Screen, deep: bool) -> int:
    """Say what is configured, reachable or broken, and how to mend it; leaves with 1 if something is broken.

    It changes one thing: a version that is not what was signed is quarantined.
    """
    from amends.governor.upkeep.doctor import examine
    from amends.governor.workspace import default_home

    checks = list(examine(default_home(), deep))
    rows = [
        (check.name, Marked(check.state, COLOURS.get(check.state, "")), check.sentence, check.mend) for check in checks
    ]
    screen.show(checks, Table(("what", "state", "found", "how to mend it"), rows))
    return 1 if any(check.state == "broken" for check in checks) else 0


@verb("backup", example="amends backup workspace.amends")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--days", type=click.IntRange(1), default=30, show_default=True, help="When it has to be deleted.")
def backup(screen: Screen, file: Path, days: int) -> None:
    """Write the whole workspace into one file; certificates name it until it expires."""
    from amends.governor.upkeep import backing

    with screen.workspace() as workspace:
        made = backing.backup(workspace, file, days)
    screen.show(made, f"The workspace is in {file}. Keep it as safe as the workspace: it holds the keys.")


@verb("restore", example="amends restore workspace.amends --home ./restored")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--home", type=click.Path(file_okay=False, path_type=Path), required=True, help="Where to put it.")
@click.option(
    "--suppressed-from",
    type=click.Path(path_type=Path),
    help="The workspace that knows who was erased since; the one that the backup was made of if it is still there.",
)
def restore(screen: Screen, file: Path, home: Path, suppressed_from: Path | None) -> None:
    """Make a workspace from a backup, without the people who were erased since."""
    from amends.governor.upkeep import backing

    made = backing.restore(file, home, suppressed_from)
    end = f"The workspace is at {home}. Use it with AMENDS_HOME={home}, and run `amends doctor`."
    screen.show(made, *made.get("sentences", ()), end)


@verb("version", example="amends version --json")
def version(screen: Screen) -> None:
    """Say which Amends this is."""
    import amends

    screen.show({"version": amends.__version__}, f"amends {amends.__version__}")
