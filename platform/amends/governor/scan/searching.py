"""Search single files for several persons at once, opening what has to be opened."""

from __future__ import annotations

import hmac
import io
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from amends.governor.scan.contents import CannotSee, needs_opening, open_inside, read_limited
from amends.governor.scan.kinds import BLIND, HEAD, kind_of
from amends.governor.scan.matching import Matcher
from amends.governor.scan.needles import Needles
from amends.governor.scan.report import Aside, Claim, Hit, KindReport, Opaque, OpaqueReport

BLOCK = 1 << 20
DEEPEST = 4  # containers inside containers
SUBJECT = 0
NAMES = "names of files"
SEALED = "sealed"


class Finder:
    """Counts, for each person, how often their needles are in a stream; the first person is the subject."""

    def __init__(self, people: Sequence[Needles]) -> None:
        owners: dict[bytes, int] = {}
        for owner, needles in enumerate(people):
            for item in needles.items:
                owners.setdefault(item.data, owner)
        self._matcher = Matcher(tuple(owners))
        self._owners = tuple(owners.values())
        self._lengths = tuple(map(len, owners))

    def count(self, file: BinaryIO) -> Counter[int]:
        """Return how often each person is in the rest of a stream, read block by block with an overlap."""
        counts: Counter[int] = Counter()
        tail = b""
        while block := file.read(BLOCK):
            text = tail + block
            for place, number in self._matcher.find(text):
                if place + self._lengths[number] > len(tail):
                    counts[self._owners[number]] += 1
            tail = text[max(0, len(text) - self._matcher.longest + 1) :]
        return counts


@dataclass
class _Kind:
    files: int = 0
    bytes: int = 0
    is_blind: bool = False
    counts: Counter[int] = field(default_factory=Counter)

    def report(self, kind: str) -> KindReport:
        hits = self.counts[SUBJECT]
        seen = sum(1 for owner, count in self.counts.items() if owner != SUBJECT and count)
        quiet = Claim.BLIND if self.is_blind else Claim.ABSENT if seen else Claim.NO_CONTROL
        return KindReport(kind, self.files, self.bytes, hits, seen, Claim.FOUND if hits else quiet)


class Search:
    """What has been found so far, by kind of file."""

    def __init__(self, finder: Finder, place_key: bytes) -> None:
        self._finder, self._place_key = finder, place_key
        self._kinds: dict[str, _Kind] = {}
        self._opaque: dict[Opaque, _Kind] = {}
        self.hits: list[Hit] = []
        self.blind: list[Aside] = []
        self.unreadable: list[Aside] = []

    def name(self, place: str, name: str) -> None:
        """Search the name of a file, or where a link points."""
        data = os.fsencode(name)
        self._add(self._kinds.setdefault(NAMES, _Kind()), len(data))
        self._note(place, NAMES, self._finder.count(io.BytesIO(data)))

    def file(self, place: str, file: BinaryIO) -> None:
        """Search a file and whatever is inside it."""
        kind = kind_of(os.path.basename(place), file.read(HEAD))
        self._add(self._kinds.setdefault(kind, _Kind()), file.seek(0, os.SEEK_END))
        file.seek(0)
        self._note(place, kind, self._within(place, kind, kind, file, 0))

    def sealed(self, place: str, file: BinaryIO, opaque: Opaque) -> None:
        """Search the bytes of a sealed file, so that one that is not sealed at all is noticed."""
        self._add(self._opaque.setdefault(opaque, _Kind()), os.fstat(file.fileno()).st_size)
        counts = self._finder.count(file)
        if counts[SUBJECT]:
            self._add(self._kinds.setdefault(SEALED, _Kind()), 0)
            self._note(place, SEALED, counts)

    def cannot_read(self, place: str, error: Exception) -> None:
        """Note a place that could not be read; the reason names no content."""
        reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        self.unreadable.append(Aside(self.shown(place), reason))

    def shown(self, place: str) -> str:
        """Return a place's name, or a keyed stand-in where the name itself holds personal data."""
        data = os.fsencode(place)
        if any(self._finder.count(io.BytesIO(data)).values()):
            return f"{place.partition('/')[0]}/#{hmac.digest(self._place_key, data, 'sha256').hex()[:32]}"
        return data.decode("utf-8", "replace")

    def kind_reports(self) -> tuple[KindReport, ...]:
        """Return every kind of file, sorted."""
        return tuple(kind.report(name) for name, kind in sorted(self._kinds.items()))

    def opaque_reports(self) -> tuple[OpaqueReport, ...]:
        """Return the sealed files by their key, sorted."""
        found = sorted(self._opaque.items(), key=lambda item: item[0].key)
        return tuple(OpaqueReport(key.key, key.is_destroyed, seen.files, seen.bytes) for key, seen in found)

    def _within(self, place: str, outer: str, kind: str, file: BinaryIO, depth: int) -> Counter[int]:
        """Count in the bytes of a stream of this kind and in its parts; trouble is noted, what was counted is kept."""
        counts: Counter[int] = Counter()
        try:
            if depth and kind != "tar" and needs_opening(kind):
                file = io.BytesIO(read_limited(file))
            if not depth or kind != "tar":  # a packed tar is read once, part by part
                counts += self._finder.count(file)
            if kind in BLIND:
                raise CannotSee(f"{kind} is compressed in a way that is not unpacked")
            if needs_opening(kind):
                if not depth or kind != "tar":
                    file.seek(0)
                self._count_parts(place, outer, kind, file, depth, counts)
        except CannotSee as reason:
            self._kinds[outer].is_blind = True
            self.blind.append(Aside(self.shown(place), str(reason)))
        except ImportError:
            self._kinds[outer].is_blind = True
            self.blind.append(Aside(self.shown(place), f"the reader for {kind} is not installed"))
        except Exception as error:  # whatever a reader raises for broken bytes: the claim must fail, not the scan
            self.cannot_read(place, error)
        return counts

    def _count_parts(self, place: str, outer: str, kind: str, file: BinaryIO, depth: int, counts: Counter[int]) -> None:
        if depth == DEEPEST:
            raise CannotSee(f"containers are nested more than {DEEPEST} deep")
        for name, part in open_inside(kind, file):
            if name is None:
                counts += self._finder.count(part)
            else:
                counts += self._finder.count(io.BytesIO(name.encode("utf-8", "surrogateescape")))
                inner = kind_of(name.split(" ")[0], part.peek(HEAD)[:HEAD])  # type: ignore[attr-defined]
                counts += self._within(place, outer, inner, part, depth + 1)

    def _note(self, place: str, kind: str, counts: Counter[int]) -> None:
        self._kinds[kind].counts += counts
        if counts[SUBJECT]:
            self.hits.append(Hit(self.shown(place), kind, counts[SUBJECT]))

    def _add(self, kind: _Kind, size: int) -> None:
        kind.files += 1
        kind.bytes += size
