"""Open a store of blobs by its address."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from amends.store.addressed import Blobs
from amends.store.artifacts import MlflowBlobs
from amends.store.local import LocalBlobs

__all__ = ["Blobs", "LocalBlobs", "MlflowBlobs", "open_blobs"]


def open_blobs(uri: str | Path, tracking_uri: str | None = None) -> Blobs:
    """Open the store at a path, a `file://` address, or anything that MLflow can write artifacts to.

    Args:
        uri: Where the blobs are.
        tracking_uri: The MLflow server behind `mlflow-artifacts:/path`.
    """
    parts = urlsplit(str(uri))
    if isinstance(uri, Path) or not parts.scheme:
        return LocalBlobs(Path(uri))
    if parts.scheme == "file":
        return LocalBlobs(Path(unquote(parts.path)))
    return MlflowBlobs(str(uri), tracking_uri)
