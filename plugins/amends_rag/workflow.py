"""What the commands of `amends rag index` ask of a workspace."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from amends.governor.workspace import Workspace
from amends_rag.places import ROLES, names
from amends_rag.reconciling import opened
from amends_rag.reranking import CANDIDATES, open_reranker
from amends_rag.retriever import Hit


def list_indexes(workspace: Workspace) -> list[dict[str, Any]]:
    """Return what is known of every index."""
    return [stats(workspace, name) for name in names(workspace.home)]


def stats(workspace: Workspace, name: str) -> dict[str, Any]:
    """Return what is known of an index: counts, digests, and what it was made with."""
    with opened(workspace, name) as index:
        files = [file for file in index.directory.rglob("*") if file.is_file()]
        documents = Counter(passage.document for passage in index.rows.passages)
        return {
            "name": name,
            **index.card.row(),
            "documents": len(documents),
            "people": len({who for passage in index.rows.passages for who in passage.subjects}),
            "terms": len(index.lexical.vocabulary),
            "sentences": len(index.rows.embedded.parts),
            "erased": len(index.tombstones.read()),
            "bytes": sum(file.stat().st_size for file in files),
        }


def search(
    workspace: Workspace, name: str, query: str, k: int, rerank: Path | None = None, candidates: int = CANDIDATES
) -> list[Hit]:
    """Return the k best passages of an index for a query, ranked again by a cross-encoder where one is given.

    Raises:
        Denied: Who asks may not read passages, which can be about anybody.
    """
    workspace.require_role(*ROLES)
    reranker = None if rerank is None else open_reranker(rerank, candidates)
    with opened(workspace, name) as index:
        return index.retriever(reranker).search(query, k)
