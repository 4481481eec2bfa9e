"""What documents say that an index does not have yet, as records to be registered, and what they say no longer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amends.governor.data.redacting import BLANK
from amends.governor.workspace import Workspace
from amends_rag.chunking import Passage, pieces
from amends_rag.dense import TextEncoder
from amends_rag.documents import Document
from amends_rag.live import LiveIndex
from amends_rag.people import People

KEY = "suppression/rag-passage"
"""The purpose of the key that names passages; it outlives every case, as the list of erased passages must."""


@dataclass
class Cuttings:
    """New passages, not registered yet, with the names of the people whom their documents are about.

    Args:
        rows: The new passages.
        said: The keys of all passages of each document that was read.
        living: Whom each of these documents is about, by pseudonyms, without those who were erased.
        others: The keys of those passages that the index has, but as if they were about other people.
        known: How many passages the index has already.
        dropped: How many were erased.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    said: dict[str, set[str]] = field(default_factory=dict)
    living: dict[str, frozenset[str]] = field(default_factory=dict)
    others: set[str] = field(default_factory=set)
    known: int = 0
    dropped: int = 0

    @property
    def documents(self) -> int:
        """How many documents were read."""
        return len(self.said)

    def replaced(self, index: LiveIndex) -> NDArray[np.bool_]:
        """Return which rows of an index are about other people than their documents say now, shape (rows,)."""
        return np.array([source.key in self.others for source in index.rows.sources], bool)

    def fallen(self, index: LiveIndex) -> NDArray[np.bool_]:
        """Return which rows of an index their documents no longer say, shape (rows,).

        What an erasure left of a passage stays with it: the document says the whole of it still. It goes where the
        document is about somebody new, since no record could say so of words that none has.
        """
        erased = index.tombstones.read()
        partly = {document for document, keys in self.said.items() if keys & erased}
        return np.array(
            [
                source.key not in self.said.get(passage.document, {source.key})
                and not (
                    BLANK in passage.text
                    and passage.document in partly
                    and self.living[passage.document].issubset(passage.subjects)
                )
                for passage, source in zip(index.rows.passages, index.rows.sources, strict=True)
            ],
            bool,
        )


def key_of(workspace: Workspace, document: str, text: str) -> str:
    """Return the keyed hash by which a passage of a document is known once it is gone."""
    return workspace.keyring.mac(KEY, document, text)


def cut_new(workspace: Workspace, index: LiveIndex, encoder: TextEncoder, documents: Iterable[Document]) -> Cuttings:
    """Return the passages of documents that the index does not have, or not about the same people, and which it has."""
    new, people = Cuttings(), People(workspace, index)
    erased = index.tombstones.read()
    here = dict(zip((source.key for source in index.rows.sources), index.rows.passages, strict=True))
    numbers = _next_numbers(index.rows.passages)
    for document in documents:
        said = new.said.setdefault(document.label, set())
        told = people.told(document.subjects)
        new.living[document.label] = people.told(people.living(document.subjects))
        for text in pieces(document.text, encoder.count, index.card.settings.cut):
            key = key_of(workspace, document.label, text)
            if key in said or (key in here and not people.are_others(here[key], told)):
                new.known += 1
            elif key in here:
                new.others.add(key)
                new.rows.append(_row(document, here[key].id, text))
            elif key in erased:
                new.dropped += 1
            else:
                new.rows.append(_row(document, f"{document.label}#{numbers[document.label]}", text))
                numbers[document.label] += 1
            said.add(key)
    workspace.bar(1, 1, f"read {new.documents} documents")
    return new


def _next_numbers(passages: Iterable[Passage]) -> Counter[str]:
    """Return for each document the first number that none of its passages has."""
    found: Counter[str] = Counter()
    for passage in passages:
        found[passage.document] = max(found[passage.document], 1 + int(passage.id.rpartition("#")[2]))
    return found


def _row(document: Document, id: str, text: str) -> dict[str, Any]:
    """Return a passage as a record that can be registered; its document's name is searched for people as well."""
    return {"id": id, "prompt": text, "document": document.label, "subject": list(document.subjects)}
