"""The records of a data set, as they were prepared: read, and written again.

Some rest sealed under a key of the workspace: then they are opened here, and what is written from them is sealed again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from amends.governor.workspace import Workspace
from amends.ledger.datasets import Dataset
from amends.records import canonical_json, texts_of
from amends.store.digests import digest_bytes
from amends.vault import sealing

_KEY_NAMES: dict[str, str] = {}  # by digest, which says what the bytes are for good


def rows_of(workspace: Workspace, blob: str) -> Iterator[dict[str, Any]]:
    """Yield the prepared rows of a JSON Lines blob, straight from the store."""
    for line in opened(workspace, workspace.blobs.get(blob)).splitlines():
        if line:
            yield json.loads(line)


def opened(workspace: Workspace, data: bytes) -> bytes:
    """Return records as lines, whether they were sealed or not."""
    name = sealing.key_name_of(data)
    return sealing.open_records(workspace.keyring.lineage_key(name), data) if name else data


def key_name(workspace: Workspace, blob: str) -> str:
    """Return the name of the key that a blob of records is sealed under; empty where it is not, or is not there."""
    if blob not in _KEY_NAMES:
        if not workspace.blobs.has(blob):
            return ""
        _KEY_NAMES[blob] = sealing.key_name_of(workspace.blobs.get(blob))
    return _KEY_NAMES[blob]


def record_keys(workspace: Workspace, blobs: Iterable[str]) -> dict[str, str]:
    """Return what opens those of some blobs that are sealed: keys in hex by their names, for a worker."""
    names = {key_name(workspace, blob) for blob in blobs} - {""}
    return {name: workspace.keyring.lineage_key(name).hex() for name in sorted(names)}


def blobs_of(dataset: Dataset) -> tuple[str, str]:
    """Return the blobs of a data set: what is trained on, and what is withheld."""
    return dataset.digest, str(dataset.settings["control"])


def text_of(row: Mapping[str, Any]) -> str:
    """Return every text of a prepared row, on lines."""
    return "\n".join(texts_of(row))


def put_rows(
    workspace: Workspace, rows: Iterable[Mapping[str, Any]], *, like: Iterable[str] = (), sealed_as: str = ""
) -> str:
    """Keep prepared rows as a JSON Lines blob and return its digest.

    Args:
        workspace: Where to keep them.
        rows: What to keep; without any there is nothing to seal.
        like: Blobs that they come from: where one of these is sealed, they are sealed under the same key.
        sealed_as: The name of the key to seal them under, in any case.
    """
    data = _lines(rows)
    name = sealed_as or next(filter(None, (key_name(workspace, blob) for blob in like)), "")
    if name and data:
        data = sealing.seal_records(workspace.keyring.lineage_key(name), name, data)
    digest: str = workspace.blobs.put_bytes(data)
    return digest


def digest_of_rows(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the digest that `put_rows` would return, and keep nothing."""
    return digest_bytes(_lines(rows))


def _lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    return b"".join(canonical_json(row) + b"\n" for row in rows)
