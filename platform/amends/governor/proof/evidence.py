"""Everything a certificate is made of, as plain values. Holds no word of the data subject's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from amends.records import Guarantee, ModelVersion, Reading, Verdict

SELF_ATTESTED = "self-attested"
NO_DATA_HELD = "no data held"
ANSWERS = ("sign", "no sign", "cannot say")
"""What a probe of a finding says of a reading, as `verdict` in its detail."""


@dataclass(frozen=True)
class Method:
    """How the change was made: enough to make it again."""

    operation: str
    plugins: Mapping[str, str]
    seed: int
    parameters: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    plan_digest: str = ""


@dataclass(frozen=True)
class Approved:
    """One person of staff who allowed the plan with that digest."""

    person: str
    role: str
    at: str
    plan_digest: str


@dataclass(frozen=True)
class Tried:
    """An operation that was carried out before the one that held, and why it was not enough."""

    operation: str
    guarantee: str
    reason: str
    readings: tuple[Reading, ...] = ()


@dataclass(frozen=True)
class Step:
    """One step of a version's recipe: what was run, and on which data sets, by the beginning of their digests."""

    operation: str
    data: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class History:
    """Where two versions come from.

    Args:
        base: The version without steps that the earlier one began with, or None where none is on record.
        before: The steps of the version before.
        after: Those of the version after.
        guarantee_before: What the erasure that made the version before promises; empty where none made it.
    """

    base: ModelVersion | None
    before: tuple[Step, ...]
    after: tuple[Step, ...] = ()
    guarantee_before: str = ""


@dataclass(frozen=True)
class Purged:
    """One sort of thing that was deleted."""

    what: str
    count: int
    bytes: int = 0


@dataclass(frozen=True)
class Outside:
    """A copy that this workspace cannot delete.

    Args:
        kind: `external file`, `backup` or `recipient`.
        name: What it is called, without personal data.
        digest: Its sha256, or an empty text.
        expires_at: When it is deleted by itself, as an ISO time; empty where nobody promised that.
        confirmed_at: When somebody confirmed that it is gone, or was told; empty while that is open.
    """

    kind: str
    name: str
    digest: str = ""
    expires_at: str = ""
    confirmed_at: str = ""


@dataclass(frozen=True)
class Relative:
    """Another case of the same request, on a model that descends from this one's or that this one descends from.

    Args:
        case: Its id.
        model: The model's name.
        how: `rebuild` or `retire`, or empty for the request itself.
        status: Where it stands.
        guarantee: What it promises; empty where nothing is.
        certificate: The sha256 of its certificate's envelope; empty where there is none yet.
    """

    case: str
    model: str
    how: str = ""
    status: str = ""
    guarantee: str = ""
    certificate: str = ""


@dataclass(frozen=True)
class Asked:
    """What the model in service answered about somebody whom no record names; holds no word of theirs.

    Args:
        kinds: Kinds of identifier that it was asked for.
        questions: How many questions it was asked about the person.
        strangers: About how many made-up people it was asked the same.
        readings: What the probes read.
        explanations: What each probe measures, one sentence, by the probe's name.
        verdict: The policy's decision; None where there was no model to ask.
        decision: The id under which that is recorded.
        why_not: Why it could not be asked, as the end of a sentence; empty where it was.
    """

    kinds: tuple[str, ...] = ()
    questions: int = 0
    strangers: int = 0
    readings: tuple[Reading, ...] = ()
    explanations: Mapping[str, str] = field(default_factory=dict)
    verdict: Verdict | None = None
    decision: str = ""
    why_not: str = ""

    @property
    def is_allowed(self) -> bool:
        """Whether a finding may be signed: the policy says so, or there was no model that could know anybody."""
        return bool(self.why_not) if self.verdict is None else self.verdict.allowed

    @property
    def answer(self) -> str:
        """What the readings say by their own `verdict`: `sign`, where any does, `no sign`, or `cannot say`."""
        said = {str(reading.detail.get("verdict", "")) for reading in self.readings}
        return next((word for word in ANSWERS if word in said), ANSWERS[-1])


@dataclass(frozen=True)
class Evidence:
    """What `issue` signs. Times are ISO texts in UTC.

    Args:
        case: The case's id, which also names the files.
        model: The model's name.
        outcome: `granted`, `partly granted` or `no data held`.
        commitment: The keyed commitment of the subject's receipt.
        regime: The law and its rule version, such as `GDPR Article 17`.
        received_at: When the request came in.
        due_at: When it had to be answered, extensions included.
        completed_at: When the work was done.
        issued_at: When this is signed.
        guarantee: What is promised; None for a negative finding.
        before: The version that held the person, or the one that was searched.
        after: The version that replaced it; None for a negative finding.
        method: How it was made.
        rebuilt_digest: Digest of what the rebuild gave.
        counterfactual_digest: Digest of what a process that never had the records gave.
        lineage: `observed`, or `declared` where an origin was only stated.
        history: Where both versions come from, for the picture; None where it is not known.
        readings_before: What the probes read on the parent.
        readings_after: What they read on the candidate.
        is_strange: Whether made-up people stood for people who were withheld from training.
        explanations: What each probe measures, one sentence, by the probe's name.
        verdict: The policy's decision.
        tried: What was carried out before and was not enough, in order.
        approvals: Who allowed the plan.
        purged: What was deleted.
        scan: `ScanReport.summary()` of the scan after the purge.
        suppression: One sentence on how a return is prevented.
        searched: For a negative finding: what was searched, one sentence each.
        asked: For a negative finding: what the model in service answered; None for an erasure.
        held: What is kept and why (exemptions, legal hold), one sentence each.
        retired: What was taken out of service and not replaced, one sentence each; only where a model was retired.
        above: The cases that this one was opened by, the request itself first.
        descendants: The cases that this one opened, and these in turn.
        outside: Copies elsewhere.
        residual_risks: Further risks, one sentence each; those that follow from the rest are added.
        entry: The case's closing entry of the audit log, as JSON.
        inclusion: `amends.ledger.checkpoints.Inclusion` of it, as JSON.
        anchor: Where the log's root was anchored outside.
    """

    case: str
    model: str
    outcome: str
    commitment: str
    regime: str
    received_at: str
    due_at: str
    completed_at: str
    issued_at: str
    before: ModelVersion
    entry: Mapping[str, Any]
    inclusion: Mapping[str, Any]
    guarantee: Guarantee | None = None
    after: ModelVersion | None = None
    method: Method | None = None
    rebuilt_digest: str = ""
    counterfactual_digest: str = ""
    lineage: str = "observed"
    history: History | None = None
    readings_before: tuple[Reading, ...] = ()
    readings_after: tuple[Reading, ...] = ()
    is_strange: bool = False
    explanations: Mapping[str, str] = field(default_factory=dict)
    verdict: Verdict | None = None
    tried: tuple[Tried, ...] = ()
    approvals: tuple[Approved, ...] = ()
    purged: tuple[Purged, ...] = ()
    scan: Mapping[str, Any] | None = None
    suppression: str = ""
    searched: tuple[str, ...] = ()
    asked: Asked | None = None
    held: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()
    above: tuple[Relative, ...] = ()
    descendants: tuple[Relative, ...] = ()
    outside: tuple[Outside, ...] = ()
    residual_risks: tuple[str, ...] = ()
    anchor: str = SELF_ATTESTED
