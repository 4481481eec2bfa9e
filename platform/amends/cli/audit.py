"""`amends audit`: the log that is only ever appended to."""

from __future__ import annotations

from pathlib import Path

import click

from amends.cli.output import Screen
from amends.cli.tables import Table
from amends.cli.verbs import group

audit = group("audit", "Read, verify and export the audit log.")


@audit.verb("list", example="amends audit list --last 20")
@click.option("--case", default="", help="Only entries of this case.")
@click.option(
    "--last", type=click.IntRange(0), default=50, show_default=True, help="Only so many of the newest; 0 for all."
)
def list_entries(screen: Screen, case: str, last: int) -> None:
    """List entries, the newest last."""
    from amends.governor import listing

    with screen.workspace() as workspace:
        found = listing.entries(workspace, case, last)
    rows = [(e["seq"], e["at"][:19], e["actor"], e["action"], e["id"], e["hash"][:12]) for e in found]
    screen.show(found, Table(("entry", "at", "who", "what", "about", "hash"), rows))


@audit.verb("verify", example="amends audit verify bundle.zip --public-key keys/")
@click.argument("bundle", required=False, type=click.Path(path_type=Path))
@click.option("--public-key", type=click.Path(path_type=Path), help="PEM file, or a directory of them.")
def verify(screen: Screen, bundle: Path | None, public_key: Path | None) -> None:
    """Check the workspace's log, or an exported bundle: offline, and with --public-key without any workspace."""
    from amends.governor.proof import proving

    if bundle is None:
        with screen.workspace() as workspace:
            found = proving.verify_log(workspace)
    elif public_key is not None:
        found = proving.verify_bundle(bundle, proving.public_keys(None, public_key))
    else:
        with screen.workspace() as workspace:
            found = proving.verify_bundle(bundle, proving.public_keys(workspace, None))
    screen.show(
        found,
        f"{found['entries']} entries are chained, {found['checkpoints']} signed checkpoints hold",
        f"signed up to entry {found['signed']}, root {found['root'] or '-'}",
    )


@audit.verb("export", example="amends audit export bundle.zip")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def export(screen: Screen, file: Path) -> None:
    """Sign a checkpoint and write the log into one file that anybody can verify with the public key."""
    from amends.governor.proof import proving

    with screen.workspace() as workspace:
        made = proving.export_log(workspace, file)
    screen.show(made, f"{made['entries']} entries are in {file}; check it with: amends audit verify {file}")
