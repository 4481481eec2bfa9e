"""A directory as a manifest of digests, whose own digest is the directory's identity."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from amends.errors import BadInput, Broken
from amends.records import canonical_json
from amends.store.addressed import Blobs
from amends.store.digests import check_digest, digest_bytes, digest_file

PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt", ".joblib")


@dataclass(frozen=True)
class Entry:
    """One file of a tree."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """The files of a tree by their relative path."""

    files: Mapping[str, Entry]

    @property
    def digest(self) -> str:
        """The tree's identity."""
        return digest_bytes(self.to_bytes())

    @property
    def size(self) -> int:
        """How many bytes the files have together."""
        return sum(entry.size for entry in self.files.values())

    def to_bytes(self) -> bytes:
        """Return the canonical JSON that the tree's digest is taken of."""
        files = {name: {"sha256": entry.sha256, "size": entry.size} for name, entry in self.files.items()}
        return canonical_json({"files": files})

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Read a manifest and check every name in it.

        Raises:
            Broken: It is not a manifest.
            BadInput: It names a file that must not be in a tree.
        """
        try:
            found: dict[str, Any] = json.loads(data)["files"]
            files = {name: Entry(check_digest(entry["sha256"]), int(entry["size"])) for name, entry in found.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Broken("this blob is not the manifest of a tree; check which digest was meant") from error
        for name in files:
            check_name(name)
        return cls(files)


def check_name(name: str) -> str:
    """Return a tree's relative file name.

    Raises:
        BadInput: It leaves the tree, may carry code, or is hidden from signing tools.
    """
    parts = name.split("/")
    if not name.isprintable() or "\\" in name or name.startswith("/") or {"", ".", ".."} & set(parts):
        raise BadInput(f"{name!r} is not a name inside a tree; use plain relative names")
    if PurePosixPath(name).suffix.lower() in PICKLES:
        raise BadInput(f"{name} may be a pickle, which can run code; convert it to safetensors")
    if any(part.startswith(".git") for part in parts):
        raise BadInput(f"{name} would be left out by signing tools; remove it from the directory")
    return name


def read_manifest(directory: Path) -> Manifest:
    """Hash a directory; a link `base` at its top, which a node's cache adds, is no part of it.

    Raises:
        BadInput: It holds a link, a pickle, or something that is not a plain file.
    """
    names = sorted(_files(directory))
    return Manifest({n: Entry(digest_file(directory / n), (directory / n).stat().st_size) for n in names})


def _files(directory: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(directory):
        if Path(folder) == directory and "base" in folders and (directory / "base").is_symlink():
            folders.remove("base")
        for name in (*folders, *files):
            path = Path(folder) / name
            relative = path.relative_to(directory).as_posix()
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise BadInput(f"{relative} is not a plain file; replace it by the file itself")
        yield from (check_name((Path(folder) / name).relative_to(directory).as_posix()) for name in files)


def put_tree(blobs: Blobs, directory: Path) -> str:
    """Store every file of a directory and its manifest, and return the tree's digest.

    Raises:
        Broken: A file changed while it was stored.
    """
    manifest = read_manifest(directory)
    for name, entry in manifest.files.items():
        if blobs.put_file(directory / name) != entry.sha256:
            raise Broken(f"{name} changed while it was stored; stop whatever writes it and store the directory again")
    return blobs.put_bytes(manifest.to_bytes())


def fetch_manifest(blobs: Blobs, digest: str) -> Manifest:
    """Return the manifest of a stored tree."""
    return Manifest.from_bytes(blobs.get(digest))


def materialise(blobs: Blobs, digest: str, destination: Path) -> Manifest:
    """Write a stored tree to `destination`, which is new or empty, and return its manifest.

    Raises:
        BadInput: Something is at the destination already, or there is no room.
        DigestMismatch: A file is not what the manifest says.
    """
    if destination.exists() and any(destination.iterdir()):
        raise BadInput(f"{destination} is not empty; name a new directory")
    manifest = fetch_manifest(blobs, digest)
    for name, entry in manifest.files.items():
        (destination / name).parent.mkdir(parents=True, exist_ok=True)
        blobs.fetch(entry.sha256, destination / name)
    return manifest
