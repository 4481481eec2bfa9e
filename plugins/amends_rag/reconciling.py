"""An index follows its data sets: what they no longer have goes, what was redacted there is redacted here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from amends.governor.data.rows import rows_of
from amends.governor.workspace import Workspace
from amends.ledger import datasets
from amends_rag.building import log_version
from amends_rag.live import LiveIndex, held
from amends_rag.rewriting import add_again
from amends_rag.store import NAME

Changes = Mapping[int, str | None]


@contextmanager
def opened(workspace: Workspace, name: str) -> Iterator[LiveIndex]:
    """Lend an index without anything that stands only in data sets that were purged, as after a restored backup.

    Raises:
        BadInput: There is none of that name, or it is broken.
    """
    with held(workspace.home, name) as index:
        changes = standing_of(workspace, index, {"purged"})
        if changes:
            change(workspace, index, changes)
            index.settle()
            log_version(workspace, index, NAME)
        yield index


def standing_of(workspace: Workspace, index: LiveIndex, status: Collection[str]) -> dict[int, str | None]:
    """Return the rows that no data set that is active has as they are, by place in memory.

    Args:
        workspace: Whose data sets.
        index: The index.
        status: Only rows of data sets of such a status, or of none, are looked at.

    Returns:
        The words that stand in a data set now, or None where the record is gone.
    """
    with workspace.database.read() as connection:
        every = {found.digest: found.status for found in datasets.find(connection)}
    named = {source.dataset for source in index.rows.sources if source.dataset}
    stale = {digest for digest in named if every.get(digest, "purged") in status}
    if not stale:
        return {}
    alive = [digest for digest, found in every.items() if found == "active"]
    words = {row["id"]: str(row["prompt"]) for digest in alive for row in rows_of(workspace, digest)}
    return {
        place: words.get(source.record)
        for place, source in enumerate(index.rows.sources)
        if source.dataset in stale and words.get(source.record) != index.rows.passages[place].text
    }


def change(workspace: Workspace, index: LiveIndex, changes: Changes, forgotten: Collection[str] = ()) -> None:
    """Take rows out of every file, and put those back that have other words now.

    Args:
        workspace: Whose index.
        index: The index.
        changes: The new words of a row by its place in memory, None for a row that goes.
        forgotten: Pseudonyms of whom no row may be about any more.
    """
    kept = [(index.rows.passages[place], text) for place, text in changes.items() if text is not None]
    again = [
        replace(old, text=text, subjects=tuple(who for who in old.subjects if who not in forgotten))
        for old, text in kept
    ]
    index.shrink(_mask(len(index.rows.passages), changes))
    add_again(workspace, index, again)


def _mask(count: int, changed: Iterable[int]) -> NDArray[np.bool_]:
    gone = np.zeros(count, bool)
    gone[list(changed)] = True
    return gone
