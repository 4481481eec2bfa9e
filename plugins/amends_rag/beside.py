"""Declare the ways of grounding a version: each result is an attachment, no weight of the base changes.

This module imports nothing heavy; what it declares imports its method when it runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import amends
from amends import Attachment, Guarantee, Operation, Records, Seams, Task

OTHERS = ("ike", "grace", "wise", "shards")  # kinds of other plugins that these leave as they are
OWN = ("rag-context", "rag-replug", "rag-knn-lm", "rag-memory", "rag-facts")


@amends.operation(
    "rag.knn-lm",
    verified_by=("rag.perplexity", "utility.perplexity"),
    cpus=2,
    memory_gb=4.0,
    accepts=[*OWN],
    guarantee=Guarantee.EXACT,
    rebuilds="rag.knn-lm",
)
def knn_lm(
    task: Task,
    *,
    documents: Records,
    weight: float = 0.25,
    k: int = 1024,
    temperature: float = 0.05,
    window: int = 256,
) -> None:
    """Mix the model's next token with what followed like contexts in the documents (Khandelwal et al., 2020)."""
    from .knn_lm import write

    write(task, documents, {"knn_weight": weight, "knn_k": k, "knn_temperature": temperature}, window)


class KnnLm:
    """The attachment of a version with a store of contexts and the tokens that followed them."""

    kind = "rag-knn-lm"

    def load(self, path: Path, model: Any, tokenizer: Any) -> Seams:
        """Load the store at `path` onto a model."""
        from .knn_lm import load

        return load(path, model)


def operations() -> tuple[Operation, ...]:
    """Return the operations whose result stands beside the weights."""
    return (knn_lm,)


def attachments() -> tuple[Attachment, ...]:
    """Return the attachments that they make."""
    return (KnnLm(),)
