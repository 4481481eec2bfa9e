"""Whom the passages of an index are about, beside what their documents say of it now."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from functools import cached_property

from amends import DataSubject, Disclosure
from amends.governor.data.rows import rows_of
from amends.governor.workspace import Workspace
from amends.ledger import datasets, suppression
from amends.vault.subjects import pseudonym, suppression_entries
from amends_rag.chunking import Passage
from amends_rag.live import LiveIndex
from amends_rag.sought import Sought


def names_of(workspace: Workspace, index: LiveIndex, wanted: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield people with what the records of an index call them, each once.

    Args:
        workspace: Whose index.
        index: The index.
        wanted: Their pseudonyms.
    """
    left = set(wanted)
    with workspace.database.read() as connection:
        alive = {found.digest for found in datasets.find(connection, status="active")}
    for digest in sorted(alive.intersection(index.card.sources)):
        for row in rows_of(workspace, digest):
            for who, name in zip(row["subjects"], row.get("names", ()), strict=False):
                if who in left:
                    left.discard(who)
                    yield who, name


class People:
    """Tells which passages of an index are about others than their documents say now.

    Args:
        workspace: Whose index.
        index: The index.
    """

    def __init__(self, workspace: Workspace, index: LiveIndex) -> None:
        self._workspace, self._index = workspace, index

    @cached_property
    def _names(self) -> dict[str, str]:
        wanted = {who for passage in self._index.rows.passages for who in passage.subjects}
        return dict(names_of(self._workspace, self._index, wanted))

    def told(self, names: Iterable[str]) -> frozenset[str]:
        """Return the pseudonyms of the people whom a document names as its own."""
        return frozenset(pseudonym(self._workspace.keyring, {"name": (name,)}) for name in names)

    def living(self, names: Iterable[str]) -> Iterator[str]:
        """Yield those names of people that no erasure keeps away."""
        with self._workspace.database.read() as connection:
            for name in names:
                macs = [mac for _, mac in suppression_entries(self._workspace.keyring, {"name": (name,)})]
                if not suppression.hits(connection, macs):
                    yield name

    def are_others(self, passage: Passage, told: Collection[str]) -> bool:
        """Whether a passage does not know somebody whom its document is about, or knows somebody whom it is not.

        Whom its words or its document's name name is not asked of the document; nor is who has no name any more.
        """
        known = set(passage.subjects)
        return bool(set(told) - known) or any(not self._is_named(who, passage) for who in sorted(known - set(told)))

    def _is_named(self, who: str, passage: Passage) -> bool:
        name = self._names.get(who)
        if name is None:
            return True
        return Sought(Disclosure(DataSubject(who), {"name": (name,)})).named_in(f"{passage.text}\n{passage.document}")
