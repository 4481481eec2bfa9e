"""An index follows its data sets: what they no longer have goes, what was redacted there is redacted here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from amends.governor.data.rows import rows_of
from amends.governor.workspace import Workspace
from amends.ledger import datasets
from amends_rag.live import LiveIndex, held
from amends_rag.places import STORE
from amends_rag.rewriting import embedded_again
from amends_rag.versions import is_logged, log_version


@dataclass
class Changes:
    """What is to become of rows.

    Args:
        words: The new words of a row by its place in memory; None for one that goes.
        followed: The places of rows whose new words are those of their record.
    """

    words: dict[int, str | None] = field(default_factory=dict)
    followed: set[int] = field(default_factory=set)

    def put(self, place: int, text: str | None) -> None:
        """Let a row have words that no record has, or none."""
        self.words[place] = text
        self.followed.discard(place)


@contextmanager
def opened(workspace: Workspace, name: str) -> Iterator[LiveIndex]:
    """Lend an index without anything that stands only in data sets that were purged, as after a restored backup.

    A version that a kill kept from the ledger is written there first.

    Raises:
        BadInput: There is none of that name, or it is broken.
    """
    with held(workspace.home, name) as index:
        before = index.card
        changes = standing_of(workspace, index, {"purged"})
        if index.card is not before:
            change(workspace, index, changes)
            index.settle()
        if index.card.version and not is_logged(workspace, index):
            log_version(workspace, index, STORE)
        yield index


def standing_of(workspace: Workspace, index: LiveIndex, status: Collection[str]) -> Changes:
    """Return the rows that no data set that is active has as they are, and note on the card what stands for those now.

    Args:
        workspace: Whose data sets.
        index: The index.
        status: Only rows of data sets of such a status, or of none, are looked at.
    """
    with workspace.database.read() as connection:
        every = {found.digest: found.status for found in datasets.find(connection)}
    named = {source.dataset for source in index.rows.sources} - {""}
    stale = {one for one in named if any(every.get(heir, "purged") in status for heir in index.card.standing(one))}
    if not stale:
        return Changes()
    alive = [digest for digest, found in every.items() if found == "active"]
    wanted = {source.record for source in index.rows.sources if source.dataset in stale}
    known = {
        row["id"]: (str(row["prompt"]), digest)
        for digest in alive
        for row in rows_of(workspace, digest)
        if row["id"] in wanted
    }
    return _followed(index, stale, known)


def _followed(index: LiveIndex, stale: Collection[str], known: Mapping[str, tuple[str, str]]) -> Changes:
    changes, heirs = Changes(), {one: set[str]() for one in stale}
    for place, source in enumerate(index.rows.sources):
        if source.dataset not in stale:
            continue
        text, digest = known.get(source.record, (None, ""))
        if text is not None:
            heirs[source.dataset].add(digest)
        if text != index.rows.passages[place].text:
            changes.words[place] = text
            changes.followed.add(place)
    found = {old: tuple(sorted(new)) for old, new in heirs.items()}
    index.card = replace(index.card, heirs={**index.card.heirs, **found})
    return changes


def change(workspace: Workspace, index: LiveIndex, changes: Changes, forgotten: Collection[str] = ()) -> None:
    """Take rows out of every file, and put those in that have other words now: all of it, or none where it is killed.

    Args:
        workspace: Whose index.
        index: The index.
        changes: What is to become of rows.
        forgotten: Pseudonyms of whom no row may be about any more.
    """
    again = []
    for place, text in changes.words.items():
        old, source = index.rows.passages[place], index.rows.sources[place]
        if text is not None:
            others = tuple(who for who in old.subjects if who not in forgotten)
            stands = source if place in changes.followed else replace(source, record="", dataset="")
            again.append((replace(old, text=text, subjects=others), stands))
    if changes.words:
        gone = _mask(len(index.rows.passages), changes.words)
        index.exchange(embedded_again(workspace, index, again), gone, for_good=True)


def _mask(count: int, changed: Iterable[int]) -> NDArray[np.bool_]:
    gone = np.zeros(count, bool)
    gone[list(changed)] = True
    return gone
