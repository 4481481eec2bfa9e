"""What every store of blobs does alike: name by digest, verify on read, stage, adopt, set aside, delete."""

from __future__ import annotations

import re
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path

from amends.errors import BadInput, Broken, DigestMismatch
from amends.store.digests import check_digest, digest_bytes, digest_file, room_on_disk

_FENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")


def place_of(digest: str, prefix: str = "") -> str:
    """Return where a blob lies under a store's root."""
    return f"{prefix}sha256/{check_digest(digest)[:2]}/{digest}"


class Blobs(ABC):
    """Bytes by digest.

    Main blobs lie under `sha256/`. A worker writes through `staging(fence)`, which sees the main blobs too but
    writes under `staging/<fence>/`; only who holds the result adopts a fence, so a worker that
    outlives its driver never changes what is stored.
    """

    uri: str
    prefix: str = ""

    @abstractmethod
    def _write(self, place: str, source: Path) -> None:
        """Put a copy of `source` at `place`, atomically."""

    @abstractmethod
    def _read(self, place: str, destination: Path) -> bool:
        """Copy what lies at `place` to `destination`, or return False if nothing does."""

    @abstractmethod
    def _exists(self, place: str) -> bool:
        """Whether a file lies at `place`."""

    @abstractmethod
    def _move(self, place: str, target: str) -> None:
        """Move a file within the store."""

    @abstractmethod
    def _remove(self, place: str) -> None:
        """Remove a file or a folder with everything in it; nothing happens if there is none."""

    @abstractmethod
    def _names(self, folder: str) -> list[str]:
        """Return the names in a folder, sorted; none if there is no folder."""

    @abstractmethod
    def staging(self, fence: str) -> Blobs:
        """Return this store as one attempt of a worker sees it."""

    def put_bytes(self, data: bytes) -> str:
        """Store bytes and return their digest."""
        with tempfile.TemporaryDirectory() as folder, room_on_disk(Path(folder)):
            path = Path(folder) / digest_bytes(data)
            path.write_bytes(data)
            return self.put_file(path)

    def put_file(self, path: Path) -> str:
        """Store a file's bytes and return their digest.

        Raises:
            BadInput: There is no room; nothing half-written stays.
        """
        digest = digest_file(path)
        if not self.has(digest):
            self._write(place_of(digest, self.prefix), path)
        return digest

    def get(self, digest: str) -> bytes:
        """Return a blob's bytes, verified."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "blob"
            self.fetch(digest, path)
            return path.read_bytes()

    def fetch(self, digest: str, destination: Path) -> None:
        """Copy a blob to `destination`, verified; nothing stays there if it fails.

        Raises:
            Broken: There is no such blob.
            DigestMismatch: The bytes are not what the digest says; they are in quarantine now.
            BadInput: There is no room at the destination.
        """
        for place in self._places(digest):
            try:
                with room_on_disk(destination.parent):
                    found = self._read(place, destination)
                sound = found and digest_file(destination) == digest
            except BaseException:
                destination.unlink(missing_ok=True)
                raise
            if sound:
                return
            if found:
                destination.unlink()
                raise self._set_aside(place, digest)
        raise missing(digest)

    def _set_aside(self, place: str, digest: str) -> DigestMismatch:
        self._move(place, f"quarantine/{digest}")
        return DigestMismatch(
            f"blob {digest[:12]} is not what its digest says and was set aside; restore it from a backup"
        )

    def has(self, digest: str) -> bool:
        """Whether the store has a blob of that digest."""
        return any(self._exists(place) for place in self._places(digest))

    def delete(self, digest: str) -> None:
        """Remove a blob wherever this store keeps it: main, every fence, quarantine.

        Raises:
            Broken: It is still there afterwards.
        """
        prefixes = ["", *(f"staging/{fence}/" for fence in self.fences())]
        places = [f"quarantine/{check_digest(digest)}", *(place_of(digest, prefix) for prefix in prefixes)]
        for place in places:
            self._remove(place)
        if any(self._exists(place) for place in places):
            raise Broken(f"blob {digest[:12]} is still in the store after deleting it; ask who runs the store to do it")

    def digests(self) -> Iterator[str]:
        """Yield the digest of every main blob, sorted."""
        for pair in self._names("sha256"):
            yield from (name for name in self._names(f"sha256/{pair}") if not name.startswith("."))

    def quarantined(self) -> tuple[str, ...]:
        """Return the digests of blobs that were set aside because their bytes had changed."""
        return tuple(self._names("quarantine"))

    def fences(self) -> tuple[str, ...]:
        """Return the fences that have something staged."""
        return tuple(self._names("staging"))

    def sweep(self) -> int:
        """Remove what killed processes left half written, where this store can tell, and say how many there were."""
        return 0

    def adopt(self, fence: str, digests: Iterable[str]) -> tuple[str, ...]:
        """Take blobs of one attempt over into the main store, drop the rest of it, and return what moved."""
        moved = []
        for digest in sorted(set(digests)):
            staged = place_of(digest, f"staging/{check_fence(fence)}/")
            if not self._exists(place_of(digest)) and self._exists(staged):
                self._move(staged, place_of(digest))
                moved.append(digest)
        self.discard(fence)
        return tuple(moved)

    def discard(self, fence: str) -> None:
        """Drop everything that one attempt staged."""
        self._remove(f"staging/{check_fence(fence)}")

    def _places(self, digest: str) -> tuple[str, ...]:
        main = place_of(digest)
        return (main, place_of(digest, self.prefix)) if self.prefix else (main,)


def missing(digest: str) -> Broken:
    """Return the error of a blob that is not there."""
    return Broken(f"blob {digest[:12]} is not in the store; restore it from a backup, or it was purged")


def check_fence(fence: str) -> str:
    """Return `fence`.

    Raises:
        BadInput: It could name a path instead.
    """
    if not _FENCE.fullmatch(fence):
        raise BadInput(f"{fence[:80]!r} is not a fencing token; use letters, digits, dots, dashes and underscores")
    return fence
