"""The nouns of Amends: frozen values that pass between its layers."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from amends.errors import BadRecords

FIRST = ("prompt", "answer", "paraphrases", "wrong")
NO_TEXT = ("id", "subjects", "names")  # keyed hashes, and the names that the pseudonyms stand for


def canonical_json(value: Any) -> bytes:
    """Return the one byte string of a JSON value: sorted keys, no spaces, UTF-8, no NaN (after RFC 8785)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def digest_of(value: Any) -> str:
    """Return the sha256 of a JSON value's canonical bytes, in hex."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


@dataclass(frozen=True, order=True)
class ModelVersion:
    """One immutable registered model; `digest` is its identity, the number only its name."""

    name: str
    version: int
    digest: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass(frozen=True)
class Records:
    """A JSON Lines file named by its sha256; the ledger never holds its text.

    Each row is a mapping with at least `id`, `prompt`, `answer` and `subjects`
    (a list of pseudonyms). `names`, `paraphrases`, `wrong` and whatever else a plugin knows may follow.
    `opened` turns the file's bytes into these lines where they rest sealed; so read them by `rows`, not by `path`.
    """

    digest: str
    path: Path | None = field(default=None, compare=False, repr=False)
    opened: Callable[[bytes], bytes] | None = field(default=None, compare=False, repr=False)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows in file order.

        Raises:
            BadRecords: The bytes are not here, or a line is not a JSON object.
        """
        if self.path is None:
            raise BadRecords(f"records {self.digest[:12]} are not on this machine; materialise them first")
        with self._lines(self.path) as lines:
            for number, line in enumerate(lines, start=1):
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise BadRecords(f"records {self.digest[:12]}, line {number}: a row must be a JSON object")
                yield row

    def _lines(self, path: Path) -> IO[str]:
        if self.opened is None:
            return path.open(encoding="utf-8")
        return io.StringIO(self.opened(path.read_bytes()).decode())  # sealed at rest, and in clear nowhere but here


def texts_of(row: Mapping[str, Any]) -> Iterator[str]:
    """Yield every text of a prepared row, however deep it lies: question and answer first, then as they stand."""
    for name in (*FIRST, *(name for name in row if name not in FIRST)):
        if name not in NO_TEXT:
            yield from _strings(row.get(name))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner)


@dataclass(frozen=True, order=True)
class DataSubject:
    """The person the data is about, as a keyed pseudonym."""

    pseudonym: str


@dataclass(frozen=True, repr=False)
class Disclosure:
    """A subject's identifiers in clear, lent by the vault in memory; never printed, never logged."""

    subject: DataSubject
    identifiers: Mapping[str, tuple[str, ...]]

    def __repr__(self) -> str:
        return f"Disclosure({self.subject.pseudonym})"

    def values(self) -> tuple[str, ...]:
        """Return every identifier, whatever its kind."""
        return tuple(value for values in self.identifiers.values() for value in values)


@dataclass(frozen=True)
class Reading:
    """What a probe read: a value with its interval, the number of units behind it and its power.

    Args:
        name: `probe/statistic`, such as `unlearning.membership/auc_loss`.
        value: The point estimate; NaN or infinity is never approved.
        low: Lower end of the 95 % interval, or None where none exists.
        high: Upper end of the 95 % interval.
        n: Number of resampled units (persons, where persons are resampled; else items).
        unit: Unit of `value`, such as `probability`, `AUC`, `perplexity`.
        power: Probability in [0, 1] of seeing an effect of the size the probe states, or None.
        detail: JSON-able extras for the report; never personal data.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int = 1
    unit: str = ""
    power: float | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """A candidate beside its parent, with what the probes read on both."""

    operation: str
    parent: ModelVersion | None
    candidate: ModelVersion
    before: tuple[Reading, ...] = ()
    after: tuple[Reading, ...] = ()


@dataclass(frozen=True)
class RuleAnswer:
    """How one rule of a policy answered, with its sentence for people."""

    rule: str
    expression: str
    message: str
    severity: str
    passed: bool
    reason: str


@dataclass(frozen=True)
class Verdict:
    """Allow or deny, with every rule's answer and the digest of the policy that judged."""

    allowed: bool
    policy: str
    policy_digest: str
    answers: tuple[RuleAnswer, ...]
    objections: tuple[str, ...] = ()

    def reasons(self) -> tuple[str, ...]:
        """Return one sentence for each failed denying rule and each objection."""
        failed = (f"{a.message} ({a.reason})" for a in self.answers if not a.passed and a.severity == "deny")
        return (*failed, *self.objections)


class Guarantee(StrEnum):
    """The three names for what an erasure promises, and nothing between them."""

    EXACT = "exact"
    EXACT_BY_DATA_FLOW = "exact by data flow"
    APPROXIMATE = "approximate"


def weakest(promised: Iterable[Guarantee]) -> Guarantee:
    """Return the weakest of these guarantees: nothing is better erased from than what it was made with."""
    order = list(Guarantee)
    return max(promised, key=order.index)


class CaseStatus(StrEnum):
    """Where a case stands."""

    LOCATING = "locating"
    AWAITING_REVIEW = "awaiting review"
    AWAITING_APPROVAL = "awaiting approval"
    IN_PROGRESS = "in progress"
    SEALED = "sealed"
    COMPLETE = "complete"
    NEGATIVE = "negative finding"
    REFUSED = "refused"
    DENIED = "denied"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Case:
    """One request and where it stands; personal data is elsewhere, encrypted.

    `parent` is the case that opened this one, for a model that descends from that case's model.
    """

    id: str
    kind: str
    model: str
    subject: DataSubject
    status: CaseStatus
    requester: str
    regime: str
    received_at: datetime
    due_at: datetime
    plan: Mapping[str, Any] | None = None
    plan_digest: str | None = None
    outcome: str | None = None
    reason: str | None = None
    parent: str | None = None


@dataclass(frozen=True)
class AuditEntry:
    """One line of the audit chain; `hash` covers every other field and the hash before it."""

    seq: int
    id: str
    at: str
    actor: str
    action: str
    body: Mapping[str, Any]
    previous: str
    hash: str


@dataclass(frozen=True)
class Certificate:
    """A signed statement and where its two renderings lie."""

    case: str
    title: str
    digest: str
    envelope: Path
    page: Path
