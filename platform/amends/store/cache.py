"""What one machine keeps of the store: verified, read-only copies shared by every process here."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from amends.errors import BadInput
from amends.operation.files import read_reference
from amends.store.addressed import Blobs
from amends.store.digests import check_digest, room_on_disk
from amends.store.scratch import inherit, remove, scratch, sweep
from amends.store.trees import materialise

logger = logging.getLogger(__name__)
MARK = ".mark"


class NodeCache:
    """Trees and files by digest in a directory of this machine.

    Each copy has a mark: its files' sizes and change times when they were verified. A copy whose mark no longer
    holds is fetched again, so a tampered file is never handed out; only who sets the clock can forge a mark.
    """

    def __init__(self, directory: Path, blobs: Blobs) -> None:
        self.directory = directory.absolute()
        self.blobs = blobs

    def tree(self, digest: str) -> Path:
        """Return a read-only directory with the tree's files, and `base/` where it refers to a base."""
        path = self._kept("trees", digest)
        base = read_reference(path)
        if base is not None:
            _link(path / "base", weights_of(self.tree(base)))
        return path

    def file(self, digest: str) -> Path:
        """Return a read-only file with the blob's bytes."""
        return self._kept("files", digest)

    def purge(self, digests: Iterable[str]) -> tuple[str, ...]:
        """Remove copies of these digests, trees that hold one of them, and what dead attempts left; say which."""
        return purge_copies(self.directory, digests)

    def prune(self, max_bytes: int) -> tuple[str, ...]:
        """Remove the copies used longest ago until at most `max_bytes` stay, while nothing else runs; say which."""
        kept, gone = 0, []
        for mark in sorted(_marks(self.directory), key=lambda mark: mark.stat().st_mtime_ns, reverse=True):
            kept += sum(size for size, _ in json.loads(mark.read_bytes())["stat"].values())
            if kept > max_bytes:
                _drop(mark.with_suffix(""))
                gone.append(mark.stem)
        return tuple(sorted(gone))

    def scratch(self, name: str = "work") -> AbstractContextManager[Path]:
        """Lend an empty directory that goes when the body ends; if the process is killed, `sweep` removes it."""
        return scratch(self.directory / "scratch", name)

    def inherit(self, name: str, part: str, heir: Path) -> bool:
        """Move a folder of what a killed process of that name left into a directory that `scratch` lent."""
        return inherit(self.directory / "scratch", name, part, heir)

    def sweep(self) -> int:
        """Remove what killed processes left, and say how many directories that were."""
        return sweep(self.directory / "scratch")

    def _kept(self, kind: str, digest: str) -> Path:
        path = self.directory / kind / check_digest(digest)
        with room_on_disk(self.directory), locked(path):
            if is_sound(path):
                os.utime(path.with_suffix(MARK))
                return path
            if path.exists():
                logger.warning("the cached copy of %s had changed; it is fetched again", digest[:12])
                _drop(path)
            with self.scratch(digest[:12]) as work:
                self._fetch(kind, digest, work, path)
        return path

    def _fetch(self, kind: str, digest: str, work: Path, path: Path) -> None:
        copy, holds = work / "copy", []
        if kind == "trees":
            copy.mkdir()
            holds = sorted({entry.sha256 for entry in materialise(self.blobs, digest, copy).files.values()})
        else:
            self.blobs.fetch(digest, copy)
        _settle(copy, path, holds)


def purge_copies(directory: Path, digests: Iterable[str]) -> tuple[str, ...]:
    """Purge a node's cache, whatever store it was filled from, and say which copies went."""
    wanted = {check_digest(digest) for digest in digests}
    gone = [mark for mark in _marks(directory) if wanted & {mark.stem, *json.loads(mark.read_bytes())["holds"]}]
    for mark in gone:
        _drop(mark.with_suffix(""))
    sweep(directory / "scratch")
    return tuple(sorted(mark.stem for mark in gone))


def keep(directory: Path, path: Path, data: bytes, holds: Iterable[str]) -> None:
    """Put bytes into a node's cache, at a place that the caller has locked; a purge of what they hold removes them."""
    with scratch(directory / "scratch", "keep") as work:
        copy = work / "copy"
        copy.write_bytes(data)
        if path.exists():
            _drop(path)
        _settle(copy, path, sorted(holds))


def is_sound(path: Path) -> bool:
    """Whether a copy that the cache handed out still is as it was verified."""
    mark = path.with_suffix(MARK)
    return path.exists() and mark.exists() and bool(json.loads(mark.read_bytes())["stat"] == _stat(path))


def weights_of(tree: Path) -> Path:
    """Return the Hugging Face directory of a materialised version, or of a base that is nothing else.

    Raises:
        BadInput: The tree holds no model.
    """
    for path in (tree / "base", tree / "model", tree):
        if (path / "config.json").exists():
            return path.resolve()
    raise BadInput(f"tree {tree.name[:12]} is no model: it has no config.json; register it again")


def _marks(directory: Path) -> list[Path]:
    return sorted(directory.glob(f"*/*{MARK}"))


def _settle(copy: Path, path: Path, holds: list[str]) -> None:
    """Move a finished copy to its place, and mark it as it is now."""
    _protect(copy)
    copy.rename(path)
    mark = copy.with_name("mark")
    mark.write_text(json.dumps({"holds": holds, "stat": _stat(path)}))
    mark.replace(path.with_suffix(MARK))


def _link(link: Path, target: Path) -> None:
    if not link.is_symlink() or link.readlink() != target:
        link.unlink(missing_ok=True)
        link.symlink_to(target)


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    if path.is_file():
        yield "", path
    for folder, _, names in os.walk(path):
        yield from ((str((Path(folder) / name).relative_to(path)), Path(folder) / name) for name in names)


def _stat(path: Path) -> dict[str, list[int]]:
    return {name: [file.stat().st_size, file.stat().st_ctime_ns] for name, file in sorted(_files(path))}


def _protect(path: Path) -> None:
    for _, file in _files(path):
        file.chmod(0o444)
    for folder, folders, _ in os.walk(path):
        for name in folders:  # the top stays writable: it may get a link to its base
            (Path(folder) / name).chmod(0o555)


def _drop(path: Path) -> None:
    path.with_suffix(MARK).unlink(missing_ok=True)
    remove(path)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes from filling the same place of the cache."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
