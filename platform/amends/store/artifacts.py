"""Blobs in an MLflow artifact store, over HTTP or wherever MLflow can write."""

from __future__ import annotations

import os
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from amends.errors import BadInput
from amends.store.addressed import Blobs, check_fence
from amends.store.digests import room_on_disk

PROXY = "/api/2.0/mlflow-artifacts/artifacts"


class MlflowBlobs(Blobs):
    """Blobs in an artifact repository, with the layout of `LocalBlobs`.

    Only the artifact repository is used: no run, no tag, no registry, and never `mlflow gc`,
    which would destroy what others have deleted softly.

    Args:
        uri: `mlflow-artifacts:/path`, `http(s)://server/path`, or any artifact root that MLflow knows.
        tracking_uri: The MLflow server behind `mlflow-artifacts:/path`; `MLFLOW_TRACKING_URI` by default.
        prefix: Where this view writes.
    """

    def __init__(self, uri: str, tracking_uri: str | None = None, prefix: str = "") -> None:
        self.uri = resolve(uri, tracking_uri)
        self.prefix = prefix

    def __repr__(self) -> str:
        return f"MlflowBlobs({self.uri!r})"

    def staging(self, fence: str) -> MlflowBlobs:
        """Return this store as one attempt of a worker sees it."""
        return MlflowBlobs(self.uri, prefix=f"staging/{check_fence(fence)}/")

    @cached_property
    def _repository(self) -> Any:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        return get_artifact_repository(self.uri)

    def _write(self, place: str, source: Path) -> None:
        folder, _, name = place.rpartition("/")
        with tempfile.TemporaryDirectory() as scrap:
            named = Path(scrap) / name
            named.symlink_to(source.absolute())
            with room_on_disk(Path(self.uri.removeprefix("file://"))):
                self._repository.log_artifact(str(named), folder)

    def _read(self, place: str, destination: Path) -> bool:
        if not self._exists(place):
            return False
        with tempfile.TemporaryDirectory(dir=destination.parent, prefix=".half-") as scrap:
            found = Path(self._repository.download_artifacts(place, scrap))
            if not found.is_file():  # MLflow answers an empty folder for a file that is gone
                return False
            found.replace(destination)
        return True

    def _exists(self, place: str) -> bool:
        folder, _, name = place.rpartition("/")
        return name in self._names(folder)

    def _move(self, place: str, target: str) -> None:
        with tempfile.TemporaryDirectory() as scrap:
            copy = Path(scrap) / "blob"
            if self._read(place, copy):
                self._write(target, copy)
                self._remove(place)

    def _remove(self, place: str) -> None:
        if self._exists(place):
            self._repository.delete_artifacts(place)

    def _names(self, folder: str) -> list[str]:
        return sorted(Path(found.path).name for found in self._repository.list_artifacts(folder))


def resolve(uri: str, tracking_uri: str | None = None) -> str:
    """Return an artifact root that means the same on every machine.

    Raises:
        BadInput: It names no server, or it carries a password.
    """
    parts = urlsplit(uri)
    if "@" in parts.netloc:
        raise BadInput("a blob store's address is written down: give the password in MLFLOW_TRACKING_PASSWORD instead")
    if parts.scheme == "mlflow-artifacts":
        server = urlsplit(tracking_uri or os.environ.get("MLFLOW_TRACKING_URI", ""))
        if server.scheme not in ("http", "https"):
            raise BadInput(f"{uri} needs an MLflow server; set MLFLOW_TRACKING_URI to its http(s) address")
        host = parts.netloc or server.netloc.rpartition("@")[2]
        return f"{server.scheme}://{host}{server.path.rstrip('/')}{PROXY}/{parts.path.strip('/')}"
    if parts.scheme in ("http", "https") and PROXY not in parts.path:
        return f"{parts.scheme}://{parts.netloc}{PROXY}/{parts.path.strip('/')}".rstrip("/")
    return uri
