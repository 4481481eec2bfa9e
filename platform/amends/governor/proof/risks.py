"""What a certificate has to say against itself: one sentence for each thing that it does not prove."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from amends.governor.proof.drilling import has_drilled
from amends.governor.proof.evidence import SELF_ATTESTED, Asked, Evidence
from amends.governor.scan.report import Claim
from amends.records import Guarantee

GENERAL = (
    "This page shows what was done and what was measured in this workspace. It cannot show what anybody copied "
    "from the model, or from its answers, before."
)
SEARCH = (
    "A search finds what the person's identifiers and their spelling variants reach; a record that describes the "
    "person without them would not be found."
)
CHOICES = (
    "Every step was run again with the parameters that had been chosen for it. Where somebody chose them by measuring "
    "on the person's records, such as the layers of an edit, that choice is still in the plan."
)

UNTRIED = (
    "The audit was not drilled: the training planted no canaries, or the policy asks for no drill. How often it misses "
    "a single person who is in the model was not measured; a reading of people who were kept, where there is one, is "
    "its only positive control."
)


LIMITS = (
    "The questions were about the identifiers that were given, asked in a few wordings. A model may know somebody by "
    "another name, in other words, or know other things about them, and not show it here.",
    "That no sign was seen does not prove that there is nothing: what is weaker than the spread among the made-up "
    "people cannot be seen. It was not tried on somebody whom the model does know.",
    "The made-up people are a stand-in. A name or an identifier can be easier to guess than theirs, or harder, without "
    "the model knowing anybody.",
    "Only the version in service was asked. What it learnt before it was brought here, in pre-training too, was asked "
    "about like everything else, and nobody can say where an answer came from.",
)


def limits_of(asked: Asked) -> tuple[str, ...]:
    """Return what asking a model about somebody does not show; where it was not asked, that says it all."""
    return LIMITS if asked.readings else ()


def risks_of(evidence: Evidence) -> Iterator[str]:
    """Yield the residual risks that follow from the evidence itself."""
    yield GENERAL if evidence.guarantee is not None or evidence.retired else SEARCH
    if evidence.guarantee is Guarantee.APPROXIMATE:
        yield "The model was not rebuilt. A stronger test than those named here may still find traces in its weights."
        if not has_drilled(evidence.readings_after):
            yield UNTRIED
    elif evidence.guarantee is not None:
        yield CHOICES
    if evidence.lineage == "declared":
        yield "Part of the model's origin was declared by people, not observed; what they left out was not examined."
    yield from _outside(evidence)
    if evidence.scan is not None:
        yield from _scan(evidence.scan)
    if evidence.anchor == SELF_ATTESTED:
        yield (
            "The audit log is signed by the operator alone (self-attested): nobody outside has witnessed that it "
            "was not rewritten as a whole."
        )


def _outside(evidence: Evidence) -> Iterator[str]:
    pending = [copy for copy in evidence.outside if not copy.confirmed_at]
    files = sum(copy.kind == "external file" for copy in pending)
    backups = [copy.expires_at[:10] for copy in pending if copy.kind == "backup"]
    told = sum(copy.kind == "recipient" for copy in pending)
    if files:
        yield f"{_many(files, 'file')} outside the workspace may still hold the records: no deletion is confirmed."
    if backups:
        until = f" The last one expires on {max(backups)}." if all(backups) else " One of them has no expiry."
        yield f"{_many(len(backups), 'backup')} made before may still hold the records.{until}"
    if told:
        yield f"{_many(told, 'recipient')} of an earlier export have not confirmed that they replaced it."


def _scan(scan: Mapping[str, Any]) -> Iterator[str]:
    quiet = [kind["kind"] for kind in scan["kinds"] if kind["claim"] == Claim.NO_CONTROL]
    blind = [kind["kind"] for kind in scan["kinds"] if kind["claim"] == Claim.BLIND]
    alive = sum(sealed["files"] for sealed in scan["opaque"] if not sealed["is_destroyed"])
    if quiet:
        yield (
            "In these kinds of file nothing was found, but no living person was found there either, so the search "
            f"alone proves little: {', '.join(quiet)}."
        )
    if blind:
        yield f"These kinds of file could not be seen into: {', '.join(blind)}."
    if alive:
        yield f"{_many(alive, 'sealed file')} of other people cannot be searched; the keys are in use."
    for reason, count in scan["left_out"].items():
        yield f"Not looked for, because it would prove nothing: {count} {reason}."


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
