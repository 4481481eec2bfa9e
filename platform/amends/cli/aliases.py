"""`amends aliases`: what stands otherwise in MLflow than Amends left it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from amends.cli.output import Screen
from amends.cli.tables import Marked, Table
from amends.cli.verbs import group

aliases = group("aliases", "Find what moved in MLflow behind Amends' back, and put it back.")


@aliases.verb("check", example="amends aliases check --enforce")
@click.argument("model", required=False, default="")
@click.option("--bytes", "is_deep", is_flag=True, help="Read every byte of the versions back, too.")
@click.option("--enforce", is_flag=True, help="Put it right, even where the policy's `reconcile` only observes.")
def check(screen: Screen, model: str, is_deep: bool, enforce: bool) -> int:
    """Compare every model, or one, with MLflow: aliases moved by hand, versions deleted, tags edited.

    Each is recorded in the audit log, and a version that is not what was signed is quarantined. Leaves with 1 while
    something still differs. Needs no token, so that a timer can run it.
    """
    from amends.governor.models.reconciling import check_aliases

    with screen.workspace() as workspace:
        report = check_aliases(workspace, is_enforced=enforce, model=model, is_deep=is_deep)
    found = report.rows()
    rows = [(row["kind"], row["sentence"], _marked(row)) for row in found]
    screen.show(
        {"mode": str(report.mode), "found": found},
        Table(("what", "how it stands", "now"), rows, "everything stands in MLflow as Amends left it"),
    )
    return 1 if any(not row["restored"] for row in found) else 0


def outcome(row: Mapping[str, Any]) -> str:
    """Return what came of a thing that differed."""
    return "quarantined" if row["quarantined"] else "put back" if row["restored"] else "differs"


def _marked(row: Mapping[str, Any]) -> str | Marked:
    now = outcome(row)
    return now if row["restored"] else Marked(now, "red")
