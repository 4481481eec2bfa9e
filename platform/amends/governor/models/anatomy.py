"""What a version is built like, read from its files without loading it: architecture, sizes, what runs beside it."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from amends.errors import AmendsError
from amends.governor.workspace import Workspace
from amends.operation.files import weights_directory

HEADER_LIMIT = 100_000_000  # bytes; safetensors refuses a longer header itself


def anatomy_of(workspace: Workspace, digest: str) -> dict[str, Any] | None:
    """Return architecture, parameters, context length, vocabulary, number type and attachments; None without files.

    A version's files are fetched to this node's cache and verified first; those of a tombstone are gone.
    """
    try:
        tree = workspace.cache.tree(digest)
        weights = weights_directory(tree)
        config = json.loads((weights / "config.json").read_text(encoding="utf-8"))
    except (AmendsError, OSError, ValueError):
        return None
    return {
        "architecture": ", ".join(config.get("architectures") or ()) or None,
        "family": config.get("model_type"),
        "parameters": count_parameters(weights.glob("*.safetensors")),
        "attached_parameters": count_parameters((tree / "attachments").rglob("*.safetensors")),
        "attachments": sorted(path.name for path in (tree / "attachments").glob("*") if path.is_dir()),
        "layers": config.get("num_hidden_layers"),
        "context_tokens": config.get("max_position_embeddings"),
        "vocabulary": config.get("vocab_size"),
        "number_type": config.get("dtype") or config.get("torch_dtype"),
        "has_tokenizer": (weights / "tokenizer.json").exists(),
    }


def count_parameters(files: Iterable[Path]) -> int | None:
    """Return how many numbers are stored in safetensors files, from their headers alone; None where one is damaged."""
    try:
        sizes: list[int] = [math.prod(tensor["shape"]) for file in files for tensor in _header(file).values()]
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return None
    return sum(sizes)


def _header(file: Path) -> dict[str, Any]:
    with file.open("rb") as data:
        (length,) = struct.unpack("<Q", data.read(8))
        if length > HEADER_LIMIT:
            raise ValueError("no safetensors file has such a header")
        header: dict[str, Any] = json.loads(data.read(length))
    header.pop("__metadata__", None)
    return header
