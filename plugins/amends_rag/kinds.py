"""Declare the attachments that grounding leaves in a version.

This module imports nothing heavy; what it declares imports its method when it is loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from amends import Attachment, Seams


class Context:
    """The attachment of a version that reads passages."""

    kind = "rag-context"

    def load(self, path: Path, model: Any, tokenizer: Any) -> Seams:
        """Load the passages at `path`."""
        from .context import load

        return load(path, tokenizer)


class Replug:
    """The attachment of a version that answers after several passages at once."""

    kind = "rag-replug"

    def load(self, path: Path, model: Any, tokenizer: Any) -> Seams:
        """Load the passages at `path` onto a model."""
        from .replug import load

        return load(path, model, tokenizer)


class KnnLm:
    """The attachment of a version with a store of contexts and the tokens that followed them."""

    kind = "rag-knn-lm"

    def load(self, path: Path, model: Any, tokenizer: Any) -> Seams:
        """Load the store at `path` onto a model."""
        from .knn_lm import load

        return load(path, model, tokenizer)


class Memory:
    """The attachment of a version with a memory at one layer."""

    kind = "rag-memory"

    def load(self, path: Path, model: Any, tokenizer: Any) -> Seams:
        """Load the memory at `path` onto a model."""
        from .memory import load

        return load(path, model)


class Facts:
    """The attachment of a version that looks facts up."""

    kind = "rag-facts"

    def load(self, path: Path, model: Any, tokenizer: Any) -> Seams:
        """Load the facts at `path`."""
        from .facts import load

        return load(path)


def attachments() -> tuple[Attachment, ...]:
    """Return the attachments."""
    return (Context(), Replug(), KnnLm(), Memory(), Facts())
