"""`amends keys`: the keys that sign."""

from __future__ import annotations

from pathlib import Path

import click

from amends.cli.output import Screen
from amends.cli.verbs import group

keys = group("keys", "The keys that sign.")


@keys.verb("show", example="amends keys show --export ./public-keys")
@click.option(
    "--export", "directory", type=click.Path(file_okay=False, path_type=Path), help="Write them as PEM files."
)
def show(screen: Screen, directory: Path | None) -> None:
    """Show every public key that ever signed here, for whoever verifies without this workspace."""
    from amends.governor.proof import proving

    with screen.workspace() as workspace:
        found = proving.public_keys(workspace, None)
        if directory is not None:
            proving.export_keys(workspace, directory)
    lines = [line for name, pem in found.items() for line in (name, pem.strip())]
    screen.show([{"keyid": name, "pem": pem} for name, pem in found.items()], *lines)


@keys.verb("rotate", example="amends keys rotate")
def rotate(screen: Screen) -> None:
    """Sign with a new key from now on, and wrap the cases' keys anew; what was signed still verifies."""
    from amends.governor import rotating

    with screen.workspace() as workspace:
        made = rotating.rotate(workspace)
    screen.show(made, f"signing with {made['new']}; {made['verified']} checkpoints verify, old and new")
