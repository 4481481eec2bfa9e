"""Name bytes by their sha256, and say in one sentence when a disk has no room for them."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from amends.errors import BadInput

CHUNK = 1 << 20
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NO_ROOM = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


def check_digest(digest: str) -> str:
    """Return `digest`.

    Raises:
        BadInput: It is not a sha256 in lower-case hex, so it could name a path instead.
    """
    if not _DIGEST.fullmatch(digest):
        raise BadInput(f"{digest[:80]!r} is not a digest; give 64 lower-case hexadecimal digits")
    return digest


def digest_bytes(data: bytes) -> str:
    """Return the sha256 of `data`, in hex."""
    return hashlib.sha256(data).hexdigest()


def digest_file(path: Path) -> str:
    """Return the sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copy_hashed(source: BinaryIO, target: BinaryIO) -> str:
    """Copy `source` to `target` and return the sha256 of what was copied."""
    hashed = hashlib.sha256()
    while chunk := source.read(CHUNK):
        hashed.update(chunk)
        target.write(chunk)
    return hashed.hexdigest()


@contextlib.contextmanager
def room_on_disk(directory: Path) -> Iterator[None]:
    """Turn a full disk into one sentence with a way out.

    Raises:
        BadInput: There is no room for what the body writes.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        room = f"{shutil.disk_usage(_existing(directory)).free / 1e9:.1f} GB free"
        full = BadInput(f"there is no room to write under {directory} ({room}); free some space or raise the limit")
        raise full from error


def _existing(directory: Path) -> Path:
    return next(path for path in (directory, *directory.absolute().parents) if path.exists())
