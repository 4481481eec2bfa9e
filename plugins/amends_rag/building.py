"""Put documents into an index: cut, registered as a data set whose people are known, embedded, and written down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from amends import BadInput
from amends.governor.data.registering import register_rows
from amends.governor.data.rows import rows_of
from amends.governor.workspace import Workspace
from amends.ledger.actions import Action
from amends_rag.chunking import Cut, Passage, pieces
from amends_rag.dense import TextEncoder, open_encoder
from amends_rag.documents import Document, read_documents
from amends_rag.embedding import Batches
from amends_rag.fusion import Fusion
from amends_rag.live import EMBEDDED, Card, LiveIndex, held, write_card
from amends_rag.places import INDEX, directory_of
from amends_rag.sentences import Embedded
from amends_rag.snapshot import Settings
from amends_rag.table import Rows, Source

KEY = "suppression/rag-passage"
ON_RAY = 4096
"""From so many new passages on, a workspace that has Ray embeds on all its cores."""


@dataclass(frozen=True)
class Added:
    """What a build or an addition did.

    Args:
        name: The index.
        version: Its version now.
        manifest: The digest of that version.
        documents: How many documents were read.
        added: How many passages are new.
        known: How many were there already.
        dropped: How many name somebody who was erased and were left out.
        passages: How many there are in all.
        dataset: The data set that the new ones are registered with; empty where there are none.
    """

    name: str
    version: int
    manifest: str
    documents: int
    added: int
    known: int
    dropped: int
    passages: int
    dataset: str = ""


@dataclass
class _Cuttings:
    """New passages, not registered yet, with the names of the people whom their documents are about."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    documents: int = 0
    known: int = 0
    dropped: int = 0


def build_index(
    workspace: Workspace,
    name: str,
    paths: Sequence[Path],
    *,
    encoder: Path | None = None,
    cut: Cut | None = None,
    fusion: Fusion | None = None,
    uri: str = "",
    drop_suppressed: bool = False,
) -> Added:
    """Make an index of documents; one that was killed while it was built goes on with what it has embedded.

    Args:
        workspace: Where to keep it.
        name: What to call it.
        paths: Files and folders.
        encoder: The directory of a sentence encoder; the packaged one, where nothing is said.
        cut: How long passages are.
        fusion: How words and meaning become one ranking.
        uri: Where LanceDB keeps the table: a directory or an object store; beside the index, where nothing is said.
        drop_suppressed: Leave out passages that name somebody who was erased, instead of refusing them all.

    Raises:
        BadInput: There is an index of that name, or no text.
        Suppressed: A passage names somebody who was erased.
    """
    workspace.require_role("operator", "ml-engineer", "safety-engineer", "dpo")
    directory = directory_of(workspace.home, name)
    if (directory / INDEX).exists() and Card.read(directory / INDEX).version:
        raise BadInput(f"there is an index {name!r} already; add to it, or choose another name")
    made = open_encoder(encoder)
    directory.mkdir(parents=True, exist_ok=True)
    settings = Settings.of(made, cut=cut or Cut(), fusion=fusion or Fusion())
    write_card(directory, Card(settings, uri=uri, encoder="" if encoder is None else str(encoder.absolute())))
    return add_documents(workspace, name, paths, drop_suppressed=drop_suppressed)


def add_documents(workspace: Workspace, name: str, paths: Sequence[Path], *, drop_suppressed: bool = False) -> Added:
    """Add documents to an index; passages that it has already are neither registered nor embedded again.

    Raises:
        BadInput: There is no such index, no text, or another encoder than it was made with.
        Suppressed: A passage names somebody who was erased.
    """
    workspace.require_role("operator", "ml-engineer", "safety-engineer", "dpo")
    with held(workspace.home, name) as index:
        encoder = open_encoder(Path(index.card.encoder) if index.card.encoder else None)
        index.card.settings.check(encoder)
        new = _cut(workspace, index, encoder, read_documents(paths))
        dataset, rows = "", None
        if new.rows:
            source = paths[0] if len(paths) == 1 and paths[0].is_file() else None
            dataset, rows = _registered(workspace, index, new, source, drop_suppressed)
        if rows is not None:
            keys = [source.key for source in rows.sources]
            batches = Batches(index.directory / EMBEDDED, encoder, workspace.bar)
            texts = [passage.text for passage in rows.passages]
            index.append(replace(rows, embedded=batches.embed(texts, keys, _cores(workspace, len(texts)))))
            batches.drop()
        index.settle()
        log_version(workspace, index, workspace.actor.id)
        added = len(rows.passages) if rows else 0
        return Added(
            name, index.card.version, index.card.manifest, new.documents, added, new.known, new.dropped,
            index.card.count, dataset,
        )  # fmt: skip


def key_of(workspace: Workspace, document: str, text: str) -> str:
    """Return the keyed hash by which a passage of a document is known once it is gone."""
    return workspace.keyring.mac(KEY, document, text)


def log_version(workspace: Workspace, index: LiveIndex, actor: str) -> None:
    """Write a version of an index to the ledger and to MLflow: digests and counts, no word of it."""
    card = index.card
    known = {"index": index.name, "version": card.version, "manifest": card.manifest, "passages": card.count}
    about = {"encoder": card.settings.encoder_digest, "sources": list(card.sources)}
    with workspace.database.transaction() as connection:
        key = f"index:{index.name}:{card.version}:{card.manifest[:16]}"
        workspace.record(connection, key, Action.INDEX_CHANGED, {**known, **about}, actor)
    tags = {"amends.digest": card.manifest, "amends.encoder": card.settings.encoder_digest}
    tags |= {f"amends.source.{place}": digest for place, digest in enumerate(card.sources)}
    workspace.registry.log_case(
        f"{index.name}@{card.version}", "indexes", tags=tags, metrics={"passages": card.count}, status="FINISHED"
    )


def _cut(workspace: Workspace, index: LiveIndex, encoder: TextEncoder, documents: Iterable[Document]) -> _Cuttings:
    """Return the passages of documents that the index does not have."""
    new = _Cuttings()
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


def _registered(
    workspace: Workspace, index: LiveIndex, new: _Cuttings, source: Path | None, drop_suppressed: bool
) -> tuple[str, Rows | None]:
    """Register passages as records, and return them with the people whom each is about, not embedded yet."""
    made = register_rows(
        workspace, f"{index.name}.index", new.rows, source=source, drop_suppressed=drop_suppressed
    )  # fmt: skip
    new.dropped += made.dropped
    order = {row["id"]: place for place, row in enumerate(new.rows)}
    rows = sorted(rows_of(workspace, made.digest), key=lambda row: order[row["label"]])
    passages = [Passage(row["label"], row["document"], row["prompt"], tuple(row["subjects"])) for row in rows]
    sources = [Source(row["id"], made.digest, key_of(workspace, row["document"], row["prompt"])) for row in rows]
    none = Embedded.empty(index.card.settings.dimension)
    return made.digest, Rows(passages, sources, none) if passages else None


def _cores(workspace: Workspace, passages: int) -> int:
    """Return on how many cores of Ray to embed; 0 embeds in this process."""
    if passages < ON_RAY or workspace.settings.scheduler == "inline":
        return 0
    return int(workspace.scheduler.resources().get("cpus", 0))
