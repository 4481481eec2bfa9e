"""Blobs in a directory of this machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from amends.store.addressed import Blobs, check_fence
from amends.store.digests import copy_hashed, room_on_disk


class LocalBlobs(Blobs):
    """Blobs under `root/sha256/ab/<digest>`; a file appears whole or not at all."""

    def __init__(self, root: Path, prefix: str = "") -> None:
        self.root = root.absolute()
        self.uri = self.root.as_uri()
        self.prefix = prefix

    def __repr__(self) -> str:
        return f"LocalBlobs({str(self.root)!r})"

    def staging(self, fence: str) -> LocalBlobs:
        """Return this store as one attempt of a worker sees it."""
        return LocalBlobs(self.root, f"staging/{check_fence(fence)}/")

    def _write(self, place: str, source: Path) -> None:
        target = self.root / place
        with room_on_disk(self.root):
            target.parent.mkdir(parents=True, exist_ok=True)
            with _beside(target) as scrap:
                with source.open("rb") as data, scrap.open("wb") as out:
                    copy_hashed(data, out)
                    out.flush()
                    os.fsync(out.fileno())
                scrap.replace(target)

    def _read(self, place: str, destination: Path) -> bool:
        try:
            shutil.copyfile(self.root / place, destination)
        except FileNotFoundError:
            if (self.root / place).exists():
                raise
            return False
        return True

    def _exists(self, place: str) -> bool:
        return (self.root / place).is_file()

    def _move(self, place: str, target: str) -> None:
        (self.root / target).parent.mkdir(parents=True, exist_ok=True)
        (self.root / place).replace(self.root / target)

    def _remove(self, place: str) -> None:
        path = self.root / place
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def _names(self, folder: str) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            return sorted(os.listdir(self.root / folder))
        return []


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[Path]:
    handle, name = tempfile.mkstemp(prefix=".half-", dir=target.parent)
    os.close(handle)
    scrap = Path(name)
    try:
        yield scrap
    finally:
        scrap.unlink(missing_ok=True)
