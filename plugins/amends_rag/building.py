"""Put documents into an index: cut, registered as a data set whose people are known, embedded, and written down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from amends import AmendsError, BadInput
from amends.governor.data.registering import register_rows
from amends.governor.data.rows import rows_of
from amends.governor.workspace import Workspace
from amends.store.scratch import remove
from amends_rag.card import Card, write_card
from amends_rag.chunking import Cut, Passage
from amends_rag.cutting import Cuttings, cut_new, key_of
from amends_rag.dense import open_encoder
from amends_rag.documents import read_documents
from amends_rag.embedding import Batches
from amends_rag.fusion import Fusion
from amends_rag.live import EMBEDDED, LiveIndex
from amends_rag.places import INDEX, ROLES, directory_of
from amends_rag.reconciling import opened
from amends_rag.sentences import Embedded
from amends_rag.settings import Settings
from amends_rag.table import Rows, Source
from amends_rag.versions import log_version

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
        fallen: How many fell away, since their documents no longer say them.
        replaced: How many were there already, but are about other people now, as their documents say.
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
    fallen: int = 0
    replaced: int = 0
    dataset: str = ""


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
    workspace.require_role(*ROLES)
    directory = directory_of(workspace.home, name)
    if (directory / INDEX).exists() and Card.read(directory / INDEX).version:
        raise BadInput(f"there is an index {name!r} already; add to it, or choose another name")
    made = open_encoder(encoder)
    directory.mkdir(parents=True, exist_ok=True)
    settings = Settings.of(made, cut=cut or Cut(), fusion=fusion or Fusion())
    write_card(directory, Card(settings, uri=uri, encoder="" if encoder is None else str(encoder.absolute())))
    try:
        return add_documents(workspace, name, paths, drop_suppressed=drop_suppressed)
    except AmendsError:
        if not (directory / EMBEDDED).exists():  # else it can go on
            remove(directory)
        raise


def add_documents(workspace: Workspace, name: str, paths: Sequence[Path], *, drop_suppressed: bool = False) -> Added:
    """Add documents to an index; one that is there already is replaced: what it still says stays, the rest goes.

    Passages that stay are neither registered nor embedded again, unless they are about other people now.

    Raises:
        BadInput: There is no such index, no text, or another encoder than it was made with.
        Suppressed: A passage names somebody who was erased.
    """
    workspace.require_role(*ROLES)
    with opened(workspace, name) as index:
        encoder = index.encoder()
        new = cut_new(workspace, index, encoder, read_documents(paths))
    source = paths[0] if len(paths) == 1 and paths[0].is_file() else None
    rows = _registered(workspace, name, new, source, drop_suppressed) if new.rows else None
    batches = Batches(index.directory / EMBEDDED, encoder, workspace.bar)
    if rows is not None:  # while nobody has to wait for it, neither who asks nor an erasure
        texts, keys = [passage.text for passage in rows.passages], [source.key for source in rows.sources]
        rows = replace(rows, embedded=batches.embed(texts, keys, _cores(workspace, len(texts))))
    with opened(workspace, name) as index:
        added, fallen, replaced = _exchange(index, rows, new)
        batches.drop()
        index.settle()
        log_version(workspace, index, workspace.actor.id)
    return Added(
        name, index.card.version, index.card.manifest, new.documents, added, new.known, new.dropped,
        index.card.count, fallen, replaced, rows.sources[0].dataset if rows else "",
    )  # fmt: skip


def _exchange(index: LiveIndex, rows: Rows | None, new: Cuttings) -> tuple[int, int, int]:
    """Put new rows in but for what came or was erased meanwhile, and take out what fell away or was replaced.

    Returns:
        How many are new, how many fell away, and how many were replaced.
    """
    fallen, replaced = new.fallen(index), new.replaced(index)
    gone = fallen | replaced
    come = index.unknown(rows or index.rows.none(), gone)
    if come.passages or gone.any():
        index.exchange(come, gone, for_good=False)
    again = sum(source.key in new.others for source in come.sources)
    return len(come.passages) - again, int(fallen.sum()), again


def _registered(
    workspace: Workspace, name: str, new: Cuttings, source: Path | None, drop_suppressed: bool
) -> Rows | None:
    """Register passages as records, and return them with the people whom each is about, not embedded yet."""
    made = register_rows(workspace, f"{name}.index", new.rows, source=source, drop_suppressed=drop_suppressed)
    new.dropped += made.dropped
    order = {row["id"]: place for place, row in enumerate(new.rows)}
    rows = sorted(rows_of(workspace, made.digest), key=lambda row: order[row["label"]])
    passages = [Passage(row["label"], row["document"], row["prompt"], tuple(row["subjects"])) for row in rows]
    sources = [Source(row["id"], made.digest, key_of(workspace, row["document"], row["prompt"])) for row in rows]
    return Rows(passages, sources, Embedded.empty(0)) if passages else None


def _cores(workspace: Workspace, passages: int) -> int:
    """Return on how many cores of Ray to embed; 0 embeds in this process."""
    if passages < ON_RAY or workspace.settings.scheduler == "inline":
        return 0
    return int(workspace.scheduler.resources().get("cpus", 0))
