"""An index follows its data sets: what they no longer have goes, what was redacted there is redacted here."""

from __future__ import annotations

from collections.abc import Mapping

from amends.governor.data.rows import rows_of
from amends.governor.workspace import Workspace
from amends.ledger import datasets
from amends_rag.live import LiveIndex


def standing_of(workspace: Workspace, index: LiveIndex) -> Mapping[int, str | None]:
    """Return the rows that their data sets no longer have as they are, by place in memory.

    Returns:
        The words that stand in the data set now, or None where the record is gone.
    """
    with workspace.database.read() as connection:
        every = {found.digest: found for found in datasets.find(connection)}
    stale = {
        source.dataset
        for source in index.rows.sources
        if source.dataset and (source.dataset not in every or every[source.dataset].status != "active")
    }
    if not stale:
        return {}
    alive = [found.digest for found in every.values() if found.status == "active"]
    words = {row["id"]: str(row["prompt"]) for digest in alive for row in rows_of(workspace, digest)}
    return {
        place: words.get(source.record)
        for place, source in enumerate(index.rows.sources)
        if source.dataset in stale and words.get(source.record) != index.rows.passages[place].text
    }
