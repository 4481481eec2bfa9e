"""Private files on disk: written whole or not at all, readable by their owner only, overwritten when destroyed."""

from __future__ import annotations

import fcntl
import os
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from amends.errors import BadInput

FILE_MODE = 0o600
DIRECTORY_MODE = 0o700
_UNFINISHED = ".new"


def write_private(path: Path, data: bytes) -> None:
    """Write a file of mode 0600 that is, after any crash, either the old one or the new one.

    Raises:
        BadInput: The disk refused.
    """
    temporary = path.with_name(f".{path.name}{_UNFINISHED}")
    try:
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE_MODE), "wb") as file:
            os.fchmod(file.fileno(), FILE_MODE)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise BadInput(f"{path} could not be written ({error.strerror}); make room or mend the disk") from None


def make_private(directory: Path) -> None:
    """Make a directory of mode 0700 whatever the umask is."""
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(DIRECTORY_MODE)


def check_private(path: Path) -> None:
    """Refuse a key file or directory that is missing, a link, or open to others.

    Raises:
        BadInput: The sentence names the path and the command that mends it.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        raise BadInput(f"{path} is missing; restore the keys from a backup, or make new ones") from None
    if stat.S_ISLNK(mode):
        raise BadInput(f"{path} is a link; put the key itself there")
    wanted = DIRECTORY_MODE if stat.S_ISDIR(mode) else FILE_MODE
    if stat.S_IMODE(mode) != wanted:
        raise BadInput(
            f"{path} has mode {stat.S_IMODE(mode):04o} and must be {wanted:04o}; "
            f"run: chmod {wanted:o} {shlex.quote(str(path))}"
        )


def check_tree(directory: Path) -> None:
    """Refuse a directory of keys of which any part is open to others; whoever calls holds its lock.

    Raises:
        BadInput: The first such path, with the command that mends it.
    """
    for path in (directory, *sorted(directory.rglob("*"))):
        check_private(path)


def destroy(path: Path) -> None:
    """Overwrite a file with random bytes and unlink it; nothing happens if there is none."""
    with suppress(FileNotFoundError):
        with path.open("r+b") as file:
            overwrite(file.fileno())
        path.unlink()
        sync(path.parent)


def overwrite(descriptor: int) -> None:
    """Replace what an open file holds by as many random bytes, on the disk."""
    os.pwrite(descriptor, os.urandom(os.fstat(descriptor).st_size), 0)
    os.fsync(descriptor)


def destroy_unfinished(directory: Path) -> None:
    """Destroy what an interrupted write left behind."""
    for path in directory.glob(f".*{_UNFINISHED}"):
        destroy(path)


def sync(directory: Path) -> None:
    """Make renames and removals in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the directory against every other thread and process that does the same; not reentrant."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
