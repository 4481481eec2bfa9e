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

KEY = "suppression/rag-passage"
"""The purpose of the key that names passages; it outlives every case, as the list of erased passages must."""


@dataclass
class Cuttings:
    """New passages, not registered yet, with the names of the people whom their documents are about.

    Args:
        rows: The new passages.
        said: The keys of all passages of each document that was read.
        known: How many passages the index has already.
        dropped: How many were erased.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    said: dict[str, set[str]] = field(default_factory=dict)
    known: int = 0
    dropped: int = 0

    @property
    def documents(self) -> int:
        """How many documents were read."""
        return len(self.said)

    def fallen(self, index: LiveIndex) -> NDArray[np.bool_]:
        """Return which rows of an index their documents no longer say, shape (rows,).

        What an erasure left of a passage stays with it: the document says the whole of it still.
        """
        erased = index.tombstones.read()
        partly = {document for document, keys in self.said.items() if keys & erased}
        return np.array(
            [
                source.key not in self.said.get(passage.document, {source.key})
                and not (BLANK in passage.text and passage.document in partly)
                for passage, source in zip(index.rows.passages, index.rows.sources, strict=True)
            ],
            bool,
        )


def key_of(workspace: Workspace, document: str, text: str) -> str:
    """Return the keyed hash by which a passage of a document is known once it is gone."""
    return workspace.keyring.mac(KEY, document, text)


def cut_new(workspace: Workspace, index: LiveIndex, encoder: TextEncoder, documents: Iterable[Document]) -> Cuttings:
    """Return the passages of documents that the index does not have, and which it has."""
    new = Cuttings()
    erased, here = index.tombstones.read(), {source.key for source in index.rows.sources}
    numbers = _next_numbers(index.rows.passages)
    for document in documents:
        said = new.said.setdefault(document.label, set())
        for text in pieces(document.text, encoder.count, index.card.settings.cut):
            key = key_of(workspace, document.label, text)
            if key in here or key in said:
                new.known += 1
            elif key in erased:
                new.dropped += 1
            else:
                new.rows.append(_row(document, numbers[document.label], text))
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


def _row(document: Document, number: int, text: str) -> dict[str, Any]:
    """Return a passage as a record that can be registered; its document's name is searched for people as well."""
    id = f"{document.label}#{number}"
    return {"id": id, "prompt": text, "document": document.label, "subject": list(document.subjects)}
