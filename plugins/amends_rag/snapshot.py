"""A frozen index as plain files: what an attachment of a model version carries, the same bytes for the same input."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from amends import BadInput
from amends.records import canonical_json
from amends_rag.chunking import Cut, Passage, chunked
from amends_rag.dense import TextEncoder, open_encoder
from amends_rag.fusion import Fusion
from amends_rag.lexical import Lexical, Words
from amends_rag.places import INDEX
from amends_rag.reranking import Reranker, open_reranker
from amends_rag.retriever import Retriever
from amends_rag.sentences import Embedded, embed_passages
from amends_rag.settings import Settings

__all__ = [
    "FORMAT", "LEXICAL", "PASSAGES", "TERMS", "VECTORS", "Settings", "build_snapshot", "embed_in_steps",
    "open_snapshot", "read_lexical", "read_passages", "read_settings", "write_lexical", "write_snapshot",
]  # fmt: skip

PASSAGES, VECTORS, TERMS = "passages.jsonl", "vectors.safetensors", "lexical.json"
LEXICAL, RERANKER = "lexical.safetensors", "reranker"
FORMAT = 1
STEP = 32

Progress = Callable[[int, int, str], None]


def write_snapshot(
    directory: Path,
    passages: Sequence[Passage],
    vectors: NDArray[np.float32] | Embedded,
    settings: Settings,
    reranker: Reranker | None = None,
) -> None:
    """Write passages and their vectors into an empty directory.

    Args:
        directory: Where to write.
        passages: What is searched.
        vectors: What `embed_passages` gave, or vectors of the passages alone, shape (passages, dimension).
        settings: What it was made with.
        reranker: What ranks the best again; it is copied, so that a version holds all that it answers with.

    Raises:
        BadInput: There is nothing to write, or the vectors are not those of the passages.
    """
    if not passages:
        raise BadInput("there are no passages to put into an index; give documents with text")
    embedded = vectors if isinstance(vectors, Embedded) else Embedded.whole(np.ascontiguousarray(vectors, np.float32))
    shape = (len(passages), settings.dimension)
    if embedded.vectors.shape != shape or not np.isfinite(embedded.vectors).all():
        raise BadInput(f"the vectors of {len(passages)} passages are not whole; embed them again")
    directory.mkdir(parents=True, exist_ok=True)
    lexical = Lexical.build([passage.text for passage in passages], settings.words)
    lines = (canonical_json(passage.row()) + b"\n" for passage in passages)
    (directory / PASSAGES).write_bytes(b"".join(lines))
    save_file(embedded.arrays(), directory / VECTORS)
    write_lexical(directory, lexical)
    if reranker is not None:
        settings = replace(settings, rerank=reranker.rerank)
        reranker.copy_to(directory / RERANKER)
    facts = {"format": FORMAT, "count": len(passages), **settings.row()}
    (directory / INDEX).write_bytes(canonical_json(facts) + b"\n")


def write_lexical(directory: Path, lexical: Lexical) -> None:
    """Write the words of an index into its directory."""
    save_file(lexical.arrays, directory / LEXICAL)
    (directory / TERMS).write_bytes(canonical_json(lexical.vocabulary) + b"\n")


def read_lexical(directory: Path, words: Words) -> Lexical:
    """Return the words that `write_lexical` wrote."""
    return Lexical(json.loads((directory / TERMS).read_bytes()), load_file(directory / LEXICAL), words)


def read_settings(directory: Path) -> Settings:
    """Return what an index was made with.

    Raises:
        BadInput: There is none, or another release wrote it.
    """
    try:
        row = json.loads((directory / INDEX).read_bytes())
        if row["format"] != FORMAT:
            raise BadInput(f"the index has format {row['format']} and this release reads {FORMAT}; build it again")
        return Settings.read(row)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"there is no whole index in {directory.name!r}; build it again") from error


def read_passages(directory: Path) -> list[Passage]:
    """Return the passages of a snapshot, in order."""
    with (directory / PASSAGES).open(encoding="utf-8") as lines:
        rows = (json.loads(line) for line in lines)
        return [Passage(row["id"], row["document"], row["text"], tuple(row["subjects"])) for row in rows]


def open_snapshot(directory: Path, encoder: TextEncoder | None = None) -> Retriever:
    """Open a snapshot for queries.

    Args:
        directory: Where it was written.
        encoder: What embeds queries; the packaged one, where nothing is said.

    Raises:
        BadInput: The index is not whole, or another encoder embedded it, or its cross-encoder is another one.
    """
    settings = read_settings(directory)
    encoder = encoder or open_encoder()
    settings.check(encoder)
    try:
        passages = read_passages(directory)
        embedded = Embedded(**load_file(directory / VECTORS))
        lexical = read_lexical(directory, settings.words)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise BadInput(f"there is no whole index in {directory.name!r}; build it again") from error
    return Retriever(passages, embedded, lexical, settings.fusion, encoder, _reranker(directory, settings))


def _reranker(directory: Path, settings: Settings) -> Reranker | None:
    """Return the cross-encoder that was copied into a snapshot, if one was."""
    if settings.rerank is None:
        return None
    found = open_reranker(directory / RERANKER, settings.rerank.candidates)
    found.check(settings.rerank.digest)
    return found


def build_snapshot(
    directory: Path,
    documents: Iterable[Mapping[str, Any]],
    *,
    encoder: TextEncoder | None = None,
    cut: Cut | None = None,
    fusion: Fusion | None = None,
    reranker: Reranker | None = None,
    progress: Progress = lambda done, total, message: None,
) -> Retriever:
    """Cut documents, embed them and write the snapshot: all that a version needs to be grounded in them.

    Args:
        directory: An empty directory.
        documents: Rows with `id`, `text` and, where known, `subjects`.
        encoder: What embeds; the packaged one, where nothing is said.
        cut: How long passages are.
        fusion: How both rankings become one.
        reranker: What ranks the best again; nothing does, where nothing is said.
        progress: Told how many passages are embedded.

    Raises:
        BadInput: There is no text.
    """
    encoder, cut = encoder or open_encoder(), cut or Cut()
    passages = list(chunked(documents, encoder.count, cut))
    embedded = embed_in_steps(encoder, passages, progress)
    settings = Settings.of(encoder, cut=cut, fusion=fusion or Fusion())
    write_snapshot(directory, passages, embedded, settings, reranker)
    return open_snapshot(directory, encoder)


def embed_in_steps(encoder: TextEncoder, passages: Sequence[Passage], progress: Progress) -> Embedded:
    """Return the vectors of passages, and tell how many are embedded meanwhile."""
    done: list[Embedded] = []
    for start in range(0, len(passages), STEP):
        progress(start, len(passages), "embedding the passages")
        done.append(embed_passages(encoder, [passage.text for passage in passages[start : start + STEP]]))
    progress(len(passages), len(passages), "embedding the passages")
    return Embedded.joined(done, encoder.dimension)
