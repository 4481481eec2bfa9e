"""Blobs in a directory of this machine."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from amends.store.addressed import Blobs, check_fence, missing, place_of
from amends.store.digests import copy_hashed, digest_bytes, room_on_disk

HALF = ".half-"


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

    def put_bytes(self, data: bytes) -> str:
        """Store bytes and return their digest; they touch no other place of the disk on their way."""
        digest = digest_bytes(data)
        if not self.has(digest):
            self._put(place_of(digest, self.prefix), io.BytesIO(data))
        return digest

    def get(self, digest: str) -> bytes:
        """Return a blob's bytes, verified; they touch no other place of the disk on their way."""
        for place in self._places(digest):
            with contextlib.suppress(FileNotFoundError):
                data = (self.root / place).read_bytes()
                if digest_bytes(data) != digest:
                    raise self._set_aside(place, digest)
                return data
        raise missing(digest)

    def sweep(self) -> int:
        """Remove what killed processes left half written, and say how many files there were."""
        count = 0
        for scrap in sorted(self.root.rglob(f"{HALF}*")):
            with contextlib.suppress(FileNotFoundError, BlockingIOError), scrap.open("r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # whoever writes it holds the lock
                scrap.unlink(missing_ok=True)
                count += 1
        return count

    def _write(self, place: str, source: Path) -> None:
        with source.open("rb") as data:
            self._put(place, data)

    def _put(self, place: str, data: BinaryIO) -> None:
        target = self.root / place
        with room_on_disk(self.root):
            target.parent.mkdir(parents=True, exist_ok=True)
            with _beside(target) as (scrap, out):
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
def _beside(target: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """Lend a new file beside the target, locked for as long as this process lives and the body runs."""
    while True:
        handle, name = tempfile.mkstemp(prefix=HALF, dir=target.parent)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if Path(name).exists():
            break
        os.close(handle)  # a sweep came between creating and locking
    with os.fdopen(handle, "wb") as out:
        try:
            yield Path(name), out
        finally:
            Path(name).unlink(missing_ok=True)
