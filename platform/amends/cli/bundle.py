"""`amends bundle`: one case in one file, to be verified by whoever has Python and the public key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from amends.cli.output import Screen
from amends.cli.tables import Marked, Table
from amends.cli.verbs import group

bundle = group("bundle", "Hand a case out to be verified offline, or take one in.")
KEYS = click.option("--public-key", type=click.Path(path_type=Path), help="PEM file, or a directory of them.")


@bundle.verb("export", example="amends bundle export e-0123456789 --output case.zip")
@click.argument("case")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The zip file to write.")
def export(screen: Screen, case: str, output: Path) -> None:
    """Pack a case with its certificate, decisions, policies, readings, approvals and log entries, and a verifier.

    Whoever gets it needs Python and the package cryptography, and the public key from you by another way.
    """
    from amends.governor.proof import bundling

    with screen.workspace() as workspace:
        made = bundling.export_bundle(workspace, case, output)
    screen.show(
        made,
        f"case {case}: {made['files']} files are in {output}, {made['entries']} entries under the signed root "
        f"{made['root'][:16]}",
        f"check it with: amends bundle verify {output}, or without Amends: python verify.py {output} --public-key KEY",
    )


@bundle.verb("verify", example="amends bundle verify case.zip --public-key keys/")
@click.argument("file", type=click.Path(path_type=Path))
@KEYS
def verify(screen: Screen, file: Path, public_key: Path | None) -> None:
    """Check a bundle offline; with --public-key without any workspace."""
    from amends.governor.proof import proving, receiving

    if public_key is not None:
        found = receiving.verify_bundle(file, proving.public_keys(None, public_key))
    else:
        with screen.workspace() as workspace:
            found = receiving.verify_bundle(file, proving.public_keys(workspace, None))
    screen.show(found, *_lines(found))


@bundle.verb("import", example="amends bundle import case.zip --public-key keys/")
@click.argument("file", type=click.Path(path_type=Path))
@KEYS
def import_bundle(screen: Screen, file: Path, public_key: Path | None) -> None:
    """Verify a bundle from elsewhere, keep it read-only in this workspace, and enter it in the audit log."""
    from amends.governor.proof import proving, receiving

    with screen.workspace() as workspace:
        keys = proving.public_keys(workspace if public_key is None else None, public_key)
        found = receiving.import_bundle(workspace, file, keys)
    screen.show(found, *_lines(found), f"kept read-only as {found['file']}")


@bundle.verb("list", example="amends bundle list")
def list_bundles(screen: Screen) -> None:
    """List the bundles that were taken in, and whether each still is what was verified."""
    from amends.governor.proof import receiving

    with screen.workspace() as workspace:
        found = receiving.imported(workspace)
    rows = [
        (b["case"], b["model"], b["status"], b["at"][:19], b["bundle"][:12],
         "as verified" if b["is_sound"] else Marked("changed or gone", "red"))
        for b in found
    ]  # fmt: skip
    columns = ("case", "model", "status", "imported at", "sha256", "file")
    screen.show(found, Table(columns, rows, "no bundle was imported yet"))


def _lines(found: dict[str, Any]) -> list[str]:
    said = f"case {found['id']} ({found['kind']}) of the model {found['model']}: {found['status']}"
    return [said, f"sha256 of the bundle: {found['sha256']}", *(f"holds: {check}" for check in found["checks"])]
