"""Declare the ways of grounding a version: each result is an attachment, no weight of the base changes.

This module imports nothing heavy; what it declares imports its method when it runs.
"""

from __future__ import annotations

from typing import Literal

import amends
from amends import Guarantee, Operation, Records, Task

OTHERS = ("ike", "grace", "patch", "wise", "shards")  # kinds of other plugins, left as they are by what only reads
OWN = ("rag-context", "rag-facts", "rag-replug", "rag-knn-lm", "rag-memory")
How = Literal["zscore", "rrf", "dense", "lexical"]


@amends.operation(
    "rag.context",
    verified_by=("rag.answers", "rag.leakage"),
    cpus=1,
    memory_gb=2.0,
    accepts=[*OWN, *OTHERS],
    guarantee=Guarantee.EXACT,
    rebuilds="rag.context",
)
def context(
    task: Task,
    *,
    documents: Records,
    k: int = 3,
    tokens: int = 512,
    fusion: How = "zscore",
    numbered: bool = True,
    example: bool = True,
    cite: bool = True,
    chunk: int = 128,
    overlap: int = 32,
    rerank: str = "",
    rerank_digest: str = "",
    candidates: int = 20,
) -> None:
    """Put the passages that a question is about into its prompt, and say which of them the answer rests on."""
    from .chunking import Cut
    from .context import write
    from .reranking import chosen

    settings = {"context_k": k, "context_tokens": tokens, "context_fusion": fusion}
    settings |= {"context_numbered": int(numbered), "context_example": int(example), "context_cite": int(cite)}
    write(task, documents, settings, Cut(chunk, overlap), chosen(rerank, rerank_digest, candidates))


@amends.operation(
    "rag.replug",
    verified_by=("rag.answers", "rag.perplexity"),
    cpus=2,
    memory_gb=3.0,
    accepts=[*OWN, *OTHERS],
    guarantee=Guarantee.EXACT,
    rebuilds="rag.replug",
)
def replug(
    task: Task,
    *,
    documents: Records,
    weight: float = 1.0,
    k: int = 4,
    temperature: float = 0.1,
    fusion: How = "zscore",
    chunk: int = 128,
    overlap: int = 32,
    rerank: str = "",
    rerank_digest: str = "",
    candidates: int = 20,
) -> None:
    """Average the next token's probabilities over one prompt for each document (REPLUG; Shi et al., 2023)."""
    from .chunking import Cut
    from .replug import write
    from .reranking import chosen

    settings = {"replug_weight": weight, "replug_k": k, "replug_temperature": temperature}
    write(task, documents, settings, fusion, Cut(chunk, overlap), chosen(rerank, rerank_digest, candidates))


@amends.operation(
    "rag.knn-lm",
    verified_by=("rag.perplexity", "utility.perplexity"),
    cpus=2,
    memory_gb=4.0,
    accepts=OWN,
    guarantee=Guarantee.EXACT,
    rebuilds="rag.knn-lm",
)
def knn_lm(
    task: Task,
    *,
    documents: Records,
    weight: float = 0.1,
    k: int = 1024,
    temperature: float = 0.1,
    window: int = 256,
) -> None:
    """Mix the model's next token with what followed like contexts in the documents (Khandelwal et al., 2020)."""
    from .knn_lm import write

    write(task, documents, {"knn_weight": weight, "knn_k": k, "knn_temperature": temperature}, window)


@amends.operation(
    "rag.memory",
    verified_by=("rag.perplexity", "utility.perplexity"),
    cpus=2,
    memory_gb=4.0,
    accepts=OWN,
    guarantee=Guarantee.EXACT,
    rebuilds="rag.memory",
)
def memory(
    task: Task,
    *,
    documents: Records,
    layer: int | None = None,
    gate: float = 0.05,
    k: int = 32,
    steps: int = 0,
    lr: float = 0.1,
    window: int = 256,
) -> None:
    """Let one layer's heads look into the documents, mixed in by a gate (Memorizing Transformers; Wu et al., 2022)."""
    from .memorising import Settings, write

    write(task, documents, Settings(layer, gate, k, steps, lr, window))


@amends.operation(
    "rag.facts",
    verified_by=("editing.outcome", "utility.perplexity"),
    cpus=1,
    memory_gb=2.0,
    accepts=[*OWN, *OTHERS],
    guarantee=Guarantee.EXACT,
    rebuilds="rag.facts",
)
def facts(task: Task, *, edits: Records, threshold: float = 0.7) -> None:
    """Look facts up and tell them in the prompt, where a question is about one (after SERAC; Mitchell et al., 2022)."""
    from .facts import write

    write(task, edits, {"facts_threshold": threshold})


def operations() -> tuple[Operation, ...]:
    """Return the operations whose result stands beside the weights."""
    return (context, replug, knn_lm, memory, facts)
