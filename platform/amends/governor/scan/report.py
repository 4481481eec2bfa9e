"""What a scan found, and for which kinds of file its silence means absence. Holds no personal data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from amends.records import digest_of


class Claim(StrEnum):
    """What may be said about one kind of file."""

    FOUND = "found"
    ABSENT = "absent"
    NO_CONTROL = "searched, no control"
    BLIND = "cannot see into"
    ENCRYPTED = "opaque: encrypted"


@dataclass(frozen=True)
class Hit:
    """A place that still holds the person, and how often; never the text."""

    place: str
    kind: str
    count: int


@dataclass(frozen=True)
class Aside:
    """A place that was left aside or could not be read, and why."""

    place: str
    reason: str


@dataclass(frozen=True)
class Opaque:
    """The key that a sealed file needs, by its name, and whether that key was destroyed."""

    key: str
    is_destroyed: bool


@dataclass(frozen=True)
class KindReport:
    """One kind of file: how much of it was searched, and what its silence is worth."""

    kind: str
    files: int
    bytes: int
    hits: int
    controls_seen: int
    claim: Claim


@dataclass(frozen=True)
class OpaqueReport:
    """Sealed files under one key; their bytes say nothing, and without the key nobody reads them."""

    key: str
    is_destroyed: bool
    files: int
    bytes: int


@dataclass(frozen=True)
class ScanReport:
    """The whole scan; `is_clean` fails closed, `kinds` says how far it reaches.

    Args:
        roots: Labels of the directories that were walked.
        files: Files met, public and sealed ones included.
        bytes: Their size.
        seconds: How long it took.
        needles: How many strings of each form were looked for.
        left_out: What could not be looked for, by reason.
        controls: How many living persons served as positive controls.
        kinds: Every kind of file that was searched.
        opaque: Sealed files by their key.
        public: Files that were skipped because their digest is publicly known: digest to size.
        hits: Where the person still is.
        blind: Places that could not be seen into.
        aside: Places that were left aside, such as links.
        unreadable: Places that could not be read; any one of them spoils the claim.
    """

    roots: tuple[str, ...]
    files: int
    bytes: int
    seconds: float
    needles: Mapping[str, int]
    left_out: Mapping[str, int]
    controls: int
    kinds: tuple[KindReport, ...] = ()
    opaque: tuple[OpaqueReport, ...] = ()
    public: Mapping[str, int] = field(default_factory=dict)
    hits: tuple[Hit, ...] = ()
    blind: tuple[Aside, ...] = ()
    aside: tuple[Aside, ...] = ()
    unreadable: tuple[Aside, ...] = ()

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found and everything was read."""
        return not self.hits and not self.unreadable

    @property
    def digest(self) -> str:
        """The sha256 of the report."""
        return digest_of(self.to_json())

    def kinds_claiming(self, claim: Claim) -> tuple[str, ...]:
        """Return the kinds of file about which that may be said."""
        return tuple(kind.kind for kind in self.kinds if kind.claim is claim)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON."""
        return {**asdict(self), "is_clean": self.is_clean}

    def summary(self) -> dict[str, Any]:
        """Return what a certificate prints: counts, claims and the report's digest, without any place."""
        return {
            "digest": self.digest,
            "is_clean": self.is_clean,
            "roots": list(self.roots),
            "files": self.files,
            "bytes": self.bytes,
            "needles": dict(self.needles),
            "left_out": dict(self.left_out),
            "controls": self.controls,
            "kinds": [asdict(kind) for kind in self.kinds],
            "opaque": [asdict(sealed) for sealed in self.opaque],
            "public": {"files": len(self.public), "bytes": sum(self.public.values())},
            "hits": sum(hit.count for hit in self.hits),
            "blind": len(self.blind),
            "aside": len(self.aside),
            "unreadable": len(self.unreadable),
        }
