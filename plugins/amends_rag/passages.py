"""From documents to passages with their vectors, and back from what an attachment carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from amends import Records, Setting, Task
from amends.serving.attaching import earlier
from amends_rag import attached
from amends_rag.chunking import Cut, chunked
from amends_rag.dense import open_encoder
from amends_rag.fusion import Fusion, How
from amends_rag.reranking import Reranker
from amends_rag.retriever import LONGEST_QUERY, Hit, Retriever
from amends_rag.sentences import Embedded
from amends_rag.snapshot import Settings, embed_in_steps, open_snapshot, write_snapshot

INDEX = "index"  # the folder of an attachment that holds its snapshot
RECENT = 8  # prompts; more would keep what people asked for longer than an answer takes


def write_index(
    task: Task,
    documents: Records,
    kind: str,
    settings: Mapping[str, Setting],
    cut: Cut,
    fusion: Fusion,
    reranker: Reranker | None = None,
) -> Path:
    """Write a version with an attachment that holds passages, after those that its source already holds of this kind.

    Returns:
        The attachment's folder.

    Raises:
        BadInput: A setting or a document cannot be used.
    """
    rows = attached.read_documents(documents, kind.replace("rag-", "rag.", 1))
    encoder = open_encoder()
    fresh = list(chunked(rows, encoder.count, cut))
    vectors = [embed_in_steps(encoder, fresh, task.progress)]
    made = Settings.of(encoder, cut=cut, fusion=fusion)
    folder, old = attached.begin(task, kind, settings), earlier(task, kind)
    passages = fresh
    titles = {str(row["id"]): str(row.get("title") or row.get("label") or row["id"]) for row in rows}
    if old is not None:
        titles = {**attached.read_data(old), **titles}
        held = open_snapshot(old / INDEX)  # refuses another encoder's
        passages = [*held.passages, *fresh]
        vectors.insert(0, held.embedded)
    write_snapshot(folder / INDEX, passages, Embedded.joined(vectors, encoder.dimension), made, reranker)
    attached.write_data(folder, titles)
    return folder


class Finder:
    """Finds passages for prompts, and remembers the last prompts, which several seams ask for in turn.

    Args:
        retriever: The opened snapshot.
        titles: What the documents are called, by their ids.
    """

    def __init__(self, retriever: Retriever, titles: Mapping[str, str]) -> None:
        self.retriever, self.titles = retriever, titles
        self.find = lru_cache(maxsize=RECENT)(self._find)

    def _find(self, prompt: str, k: int, how: How | None = None) -> tuple[Hit, ...]:
        """Return the k best passages for a prompt, the best first; none for an empty one."""
        if not prompt.strip() or k < 1:
            return ()
        found = self.retriever
        if how not in (None, found.fusion.how):
            fusion = replace(found.fusion, how=how)
            found = Retriever(found.passages, found.embedded, found.lexical, fusion, found.encoder, found.reranker)
        return tuple(found.search(prompt[-LONGEST_QUERY:], k))


def open_finder(folder: Path) -> Finder:
    """Open the passages of an attachment."""
    return Finder(open_snapshot(folder / INDEX), attached.read_data(folder))
