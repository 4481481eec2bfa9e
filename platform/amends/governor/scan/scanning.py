"""Read every byte of a workspace and say where a person still is, with living persons as the positive control."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from amends.errors import BadInput
from amends.governor.scan.needles import Needles
from amends.governor.scan.report import Aside, Opaque, ScanReport
from amends.governor.scan.searching import Finder, Search

NAMES = "names of files"


def scan(
    roots: Mapping[str, Path],
    needles: Needles,
    controls: Sequence[Needles],
    *,
    place_key: bytes,
    known_public: Collection[str] = (),
    opaque: Mapping[str, Opaque] | None = None,
    openers: Mapping[str, Callable[[bytes], bytes]] | None = None,
) -> ScanReport:
    """Search every file under `roots` for one person.

    Args:
        roots: Directories (or files) by the label that the report calls them.
        needles: What to look for.
        controls: The needles of living persons whose records are kept; where they are not seen, silence means nothing.
        place_key: Keys the stand-in for a place whose own name holds personal data.
        known_public: sha256 of files that anyone can have, such as the base model's; skipped and listed.
        opaque: Sealed files by sha256, with the key they need.
        openers: What opens other sealed files, by sha256: they are searched as what they hold.

    Raises:
        BadInput: There is nothing to look for, or no root.
    """
    if not needles.items or not roots:
        raise BadInput("a scan needs a root and something to look for; absence cannot be shown for nothing")
    begun = time.monotonic()
    search = Search(Finder([needles, *controls]), place_key)
    walk = _Walk(search, tuple(map(os.path.realpath, roots.values())), frozenset(known_public), dict(opaque or {}))
    walk.openers.update(openers or {})
    for label, root in roots.items():
        walk.visit(label, root)
    walk.note_other_names()
    return ScanReport(
        roots=tuple(roots),
        files=walk.files,
        bytes=walk.bytes,
        seconds=round(time.monotonic() - begun, 3),
        needles=needles.forms(),
        left_out=dict(needles.left_out),
        controls=len(controls),
        kinds=search.kind_reports(),
        opaque=search.opaque_reports(),
        public=walk.public,
        hits=tuple(search.hits),
        blind=tuple(search.blind),
        aside=tuple(walk.aside),
        unreadable=tuple(search.unreadable),
    )


class _Walk:
    """One pass over all roots, each file once, following no link."""

    def __init__(
        self, search: Search, roots: tuple[str, ...], known: frozenset[str], sealed: Mapping[str, Opaque]
    ) -> None:
        self._search, self._roots, self._known, self._sealed = search, roots, known, sealed
        self._names: dict[tuple[int, int], list[str]] = {}
        self._links: dict[tuple[int, int], int] = {}
        self.files = self.bytes = 0
        self.public: dict[str, int] = {}
        self.aside: list[Aside] = []
        self.openers: dict[str, Callable[[bytes], bytes]] = {}

    def visit(self, place: str, path: Path) -> None:
        """Search a file, or everything below a directory."""
        self._search.name(place, os.path.basename(place))
        try:
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode):
                self._visit_link(place, path)
            elif stat.S_ISDIR(status.st_mode):
                for name in sorted(os.listdir(path)):
                    self.visit(f"{place}/{name}", path / name)
            elif stat.S_ISREG(status.st_mode):
                self._visit_file(place, path, status)
            else:
                self._leave(place, "not a file: a socket, pipe or device holds no bytes")
        except OSError as error:
            self._search.cannot_read(place, error)

    def note_other_names(self) -> None:
        """Say which files have names that the walk did not meet."""
        for inode, places in self._names.items():
            if self._links[inode] > len(places):
                more = self._links[inode] - len(places)
                self._leave(places[0], f"searched here, but the file has {more} more names outside the roots")

    def _visit_link(self, place: str, path: Path) -> None:
        self._search.name(place, os.readlink(path))
        target = os.path.realpath(path)
        is_inside = any(os.path.commonpath([root, target]) == root for root in self._roots)
        self._leave(
            place, "a link to a place that is searched" if is_inside else "a link out of the roots, not followed"
        )

    def _visit_file(self, place: str, path: Path, status: os.stat_result) -> None:
        inode = (status.st_dev, status.st_ino)
        names = self._names.setdefault(inode, [])
        names.append(place)
        self._links[inode] = status.st_nlink
        if len(names) > 1:
            self._leave(place, "another name of a file that is searched")
            return
        self.files += 1
        self.bytes += status.st_size
        self._read(place, path)

    def _read(self, place: str, path: Path) -> None:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            if digest in self._known:
                self.public[digest] = path.stat().st_size
            elif digest in self._sealed:
                self._search.sealed(place, file, self._sealed[digest])
            elif digest in self.openers:
                self._search.file(f"{place}, opened", io.BytesIO(self.openers[digest](file.read())))
            else:
                self._search.file(place, file)

    def _leave(self, place: str, reason: str) -> None:
        self.aside.append(Aside(self._search.shown(place), reason))
