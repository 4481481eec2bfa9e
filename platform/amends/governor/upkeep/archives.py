"""One file that holds a directory: a plain tar whose last member is a signed manifest of all the others."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any

from amends.errors import BadInput, Tampered
from amends.records import canonical_json
from amends.store.digests import digest_file, room_on_disk
from amends.vault import signing
from amends.vault.keyfiles import make_private
from amends.vault.keys import Keyring
from amends.vault.public import keyid_of, load_public

FILES, MANIFEST = "files", "manifest.json"
PAYLOAD_TYPE = "application/vnd.amends.backup+json"
LARGEST_MANIFEST = 256 * 1024 * 1024
PUBLIC = "keys/public/"


class _Hashing:
    """A file that is hashed as it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.hash = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size)
        self.hash.update(data)
        return data


def pack(
    target: Path,
    files: Iterable[tuple[str, Path | bytes]],
    folders: Iterable[str],
    facts: Mapping[str, Any],
    keyring: Keyring,
) -> str:
    """Write files into a new archive of mode 0600 and return its sha256; a failure leaves nothing.

    Args:
        target: A path that does not exist yet.
        files: Relative name, and where each file lies or what it holds.
        folders: Relative names of directories that must be there even if they are empty.
        facts: What else the manifest says.
        keyring: Signs the manifest.

    Raises:
        BadInput: There is no room, or a file cannot be read.
    """
    try:
        with (
            room_on_disk(target.parent),
            open(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as out,
        ):
            with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
                held = {name: _add(tar, name, path) for name, path in files}
                payload = canonical_json({**facts, "files": held, "folders": sorted(folders)})
                _add_bytes(tar, MANIFEST, canonical_json(signing.sign(keyring, PAYLOAD_TYPE, payload)))
            out.flush()
            os.fsync(out.fileno())
    except OSError as error:
        target.unlink(missing_ok=True)
        raise BadInput(
            f"{target} cannot be written ({error.strerror or error}); nothing was kept, try again"
        ) from error
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return digest_file(target)


def unpack(file: Path, destination: Path) -> dict[str, Any]:
    """Write an archive's files to a new private directory, every byte checked, and return what its manifest says.

    Raises:
        BadInput: The file is no archive, or there is no room.
        Tampered: A member is missing, too many or changed, or the manifest's signature does not hold.
    """
    try:
        with room_on_disk(destination.parent), tarfile.open(file, "r:") as tar:
            members = _members(tar)
            manifest = _manifest(tar, members)
            held: dict[str, Any] = manifest["files"]
            if set(members) - {MANIFEST} != {f"{FILES}/{name}" for name in held}:
                raise Tampered(f"{file.name} does not hold just the files that its manifest names; take another backup")
            make_private(destination)
            for folder in manifest["folders"]:
                make_private(destination / _plain(folder))
            for name, entry in held.items():
                _extract(tar, members[f"{FILES}/{name}"], destination / _plain(name), entry)
    except (tarfile.TarError, EOFError, FileNotFoundError, IsADirectoryError) as error:
        raise BadInput(
            f"{file.name} is no backup, or only a part of one; give a file that `amends backup` wrote"
        ) from error
    return manifest


def _members(tar: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
    found: dict[str, tarfile.TarInfo] = {}
    for member in tar:
        if not member.isreg() or member.name in found:
            raise Tampered(f"{member.name[:80]!r} in the backup is no plain file of its own; take another backup")
        found[member.name] = member
    if MANIFEST not in found or found[MANIFEST].size > LARGEST_MANIFEST:
        raise BadInput("this is no backup, or only a part of one; give a file that `amends backup` wrote")
    return found


def _manifest(tar: tarfile.TarFile, members: Mapping[str, tarfile.TarInfo]) -> dict[str, Any]:
    """Return the manifest, signed by the workspace's key: one of those in the archive, which it names by digest."""
    keys = {}
    for name, member in members.items():
        if name.startswith(f"{FILES}/{PUBLIC}"):
            pem = _open(tar, member).read().decode("ascii", "replace")
            keys[keyid_of(load_public(pem, name))] = pem
    try:
        envelope = json.loads(_open(tar, members[MANIFEST]).read())
    except ValueError:
        raise Tampered("the backup's manifest is damaged; take another backup") from None
    found: dict[str, Any] = json.loads(signing.verify(envelope, keys, PAYLOAD_TYPE))
    return found


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path, entry: Mapping[str, Any]) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    hashed = _Hashing(_open(tar, member))
    with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as out:
        while chunk := hashed.read(1 << 20):
            out.write(chunk)
    if (hashed.hash.hexdigest(), member.size) != (entry["sha256"], entry["size"]):
        raise Tampered(f"{member.name[:80]} in the backup is not what its manifest says; take another backup")


def _open(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    file = tar.extractfile(member)
    if file is None:
        raise Tampered(f"{member.name[:80]!r} in the backup is no plain file; take another backup")
    return file


def _add(tar: tarfile.TarFile, name: str, held: Path | bytes) -> dict[str, Any]:
    with io.BytesIO(held) if isinstance(held, bytes) else held.open("rb") as file:
        hashed = _Hashing(file)
        info = _info(f"{FILES}/{_plain(name)}", file.seek(0, os.SEEK_END))
        file.seek(0)
        tar.addfile(info, hashed)
    return {"sha256": hashed.hash.hexdigest(), "size": info.size}


def _add_bytes(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    tar.addfile(_info(name, len(data)), io.BytesIO(data))


def _info(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info


def _plain(name: str) -> str:
    """Return a relative name.

    Raises:
        Tampered: It leaves the directory.
    """
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\0" in name:
        raise Tampered(f"{name[:80]!r} is not a name inside a backup; take another backup")
    return name
