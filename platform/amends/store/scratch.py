"""Directories of one attempt: gone when it ends, and recognised as left over when its process was killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from amends.store.digests import room_on_disk


@contextlib.contextmanager
def scratch(parent: Path, name: str = "work") -> Iterator[Path]:
    """Lend a new empty directory under `parent`, locked for as long as this process lives and the body runs."""
    with room_on_disk(parent):
        parent.mkdir(parents=True, exist_ok=True)
    lock = _lock(parent, name)
    path = Path(lock.name).with_suffix("")
    try:
        path.mkdir()
        yield path
    finally:
        remove(path)
        Path(lock.name).unlink(missing_ok=True)
        lock.close()


def sweep(parent: Path) -> int:
    """Remove the directories whose process is dead, and say how many there were."""
    count = 0
    for name in sorted(parent.glob("*.lock")):
        with contextlib.suppress(FileNotFoundError, BlockingIOError), name.open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove(name.with_suffix(""))
            name.unlink(missing_ok=True)
            count += 1
    return count


def inherit(parent: Path, name: str, part: str, heir: Path) -> bool:
    """Move a folder of what a dead process of that name left into another directory; the rest of it goes.

    A process that lives holds its lock, and a lock is taken by one: nobody is robbed, and nothing is shared.

    Args:
        parent: Where the directories are.
        name: How they were called, up to the dot.
        part: The folder in them.
        heir: The directory of the attempt that goes on, locked like theirs.

    Returns:
        Whether there was anything.
    """
    for name_of_lock in sorted(parent.glob(f"{name}.*.lock"), key=_age):
        with contextlib.suppress(FileNotFoundError, BlockingIOError), name_of_lock.open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left = name_of_lock.with_suffix("") / part
            if not (heir / part).exists() and left.is_dir() and any(left.iterdir()):
                left.rename(heir / part)
            remove(name_of_lock.with_suffix(""))
            name_of_lock.unlink(missing_ok=True)
    return (heir / part).exists()


def _age(lock: Path) -> float:
    """Order locks from the newest to the oldest; one that has just gone is the oldest."""
    try:
        return -lock.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def remove(path: Path) -> None:
    """Remove a file or a directory, read-only parts included; nothing happens if there is none."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    for folder, _, _ in os.walk(path):
        Path(folder).chmod(0o755)
    shutil.rmtree(path)


def _lock(parent: Path, name: str) -> IO[bytes]:
    while True:
        lock = tempfile.NamedTemporaryFile(prefix=f"{name}.", suffix=".lock", dir=parent, delete=False)  # noqa: SIM115
        fcntl.flock(lock, fcntl.LOCK_EX)
        if Path(lock.name).exists():
            return cast("IO[bytes]", lock)
        lock.close()  # a sweep came between creating and locking
