"""The records of a data set, as they were prepared: read, and written again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from amends.governor.workspace import Workspace
from amends.ledger.datasets import Dataset
from amends.records import canonical_json, texts_of
from amends.store.digests import digest_bytes


def rows_of(workspace: Workspace, blob: str) -> Iterator[dict[str, Any]]:
    """Yield the prepared rows of a JSON Lines blob, straight from the store."""
    for line in workspace.blobs.get(blob).splitlines():
        if line:
            yield json.loads(line)


def blobs_of(dataset: Dataset) -> tuple[str, str]:
    """Return the blobs of a data set: what is trained on, and what is withheld."""
    return dataset.digest, str(dataset.settings["control"])


def text_of(row: Mapping[str, Any]) -> str:
    """Return every text of a prepared row, on lines."""
    return "\n".join(texts_of(row))


def put_rows(workspace: Workspace, rows: Iterable[Mapping[str, Any]]) -> str:
    """Keep prepared rows as a JSON Lines blob and return its digest."""
    digest: str = workspace.blobs.put_bytes(_lines(rows))
    return digest


def digest_of_rows(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the digest that `put_rows` would return, and keep nothing."""
    return digest_bytes(_lines(rows))


def _lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    return b"".join(canonical_json(row) + b"\n" for row in rows)
