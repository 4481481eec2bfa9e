"""Which passages of documents an index does not have yet, as records that can be registered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from amends.governor.workspace import Workspace
from amends_rag.chunking import pieces
from amends_rag.dense import TextEncoder
from amends_rag.documents import Document
from amends_rag.live import LiveIndex

KEY = "suppression/rag-passage"
"""The purpose of the key that names passages; it outlives every case, as the list of erased passages must."""


@dataclass
class Cuttings:
    """New passages, not registered yet, with the names of the people whom their documents are about."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    documents: int = 0
    known: int = 0
    dropped: int = 0


def key_of(workspace: Workspace, document: str, text: str) -> str:
    """Return the keyed hash by which a passage of a document is known once it is gone."""
    return workspace.keyring.mac(KEY, document, text)


def cut_new(workspace: Workspace, index: LiveIndex, encoder: TextEncoder, documents: Iterable[Document]) -> Cuttings:
    """Return the passages of documents that the index does not have."""
    new = Cuttings()
    erased = index.tombstones.read()
    here, texts = {source.key for source in index.rows.sources}, {passage.text for passage in index.rows.passages}
    numbers = Counter(passage.document for passage in index.rows.passages)
    for document in documents:
        new.documents += 1
        for text in pieces(document.text, encoder.count, index.card.settings.cut):
            key = key_of(workspace, document.label, text)
            if key in here or (text in texts and not document.subjects):
                new.known += 1
            elif key in erased:
                new.dropped += 1
            else:
                here.add(key)
                texts.add(text)
                new.rows.append(_row(document, numbers[document.label], text))
                numbers[document.label] += 1
    workspace.bar(1, 1, f"read {new.documents} documents")
    return new


def _row(document: Document, number: int, text: str) -> dict[str, Any]:
    """Return a passage as a record that can be registered; its document's name is searched for people as well."""
    id = f"{document.label}#{number}"
    return {"id": id, "prompt": text, "document": document.label, "subject": list(document.subjects)}
