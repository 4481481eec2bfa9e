"""Declare what a data set is under: people say it, and nobody here has checked it."""

from __future__ import annotations

import re
import secrets

from amends.errors import BadInput
from amends.governor.workspace import Workspace
from amends.ledger import datasets
from amends.ledger.actions import Action

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,63}")


def check_licence(licence: str) -> str:
    """Return the id of a licence, or an empty text where none is given.

    Raises:
        BadInput: It is no id, so that a passport could not name it.
    """
    if licence and not _ID.fullmatch(licence):
        raise BadInput(f"{licence[:40]!r} is no licence's id; write one such as CC-BY-4.0, or LicenseRef-ours")
    return licence


def declare_licence(workspace: Workspace, dataset: str, licence: str, actor: str) -> None:
    """Enter a data set's licence; the same again changes nothing, another one takes its place and both stay in the log.

    Args:
        workspace: Where the data set is.
        dataset: Its digest.
        licence: The id, as `check_licence` lets it pass.
        actor: Who declares it.
    """
    with workspace.database.transaction() as connection:
        known = str(datasets.get(connection, dataset).settings.get("licence", ""))
        if known == licence:
            return
        datasets.set_licence(connection, dataset, licence)
        body = {"dataset": dataset, "licence": licence, "before": known}
        workspace.record(connection, f"data-licence:{secrets.token_hex(8)}", Action.DATA_LICENSED, body, actor)
