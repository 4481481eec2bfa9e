"""Say a page's verdict in plain words: what was found, on what evidence, and what that does not show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from amends.governor.proof.comparisons import comparisons_of, decided_by_rules
from amends.records import CaseStatus, Guarantee

Told = Mapping[str, Any]
COPIES = "What anybody copied from the model, or from its answers, before."
BASE = "What the base model may have known of the person before any training here."
OTHER_WORDS = "That nothing describes the person without naming them: such a record is not found by their identifiers."
DECIDED = {
    CaseStatus.REFUSED: "The request was refused. The model was not changed.",
    CaseStatus.DENIED: "The request was denied. The model was not changed.",
    CaseStatus.CANCELLED: "The request was withdrawn. The model was not changed.",
    CaseStatus.SEALED: "The model in service was replaced. What it replaced is not deleted yet: nothing is certified.",
}
SIGNS = {
    "no sign": "The model was asked about them, and shows no sign of knowing them.",
    "sign": "The model was asked about them, and shows a sign of knowing them; the policy allows it all the same.",
    "cannot say": "The model was asked about them, and nobody can say from that whether it knows them.",
}
OPEN = "Nothing is decided yet. The model was not changed."


@dataclass(frozen=True)
class Plain:
    """A verdict for people who read nothing else.

    Args:
        state: `held`, `short` where something is open or against it, or `none` where nothing was granted.
        headline: One or two sentences.
        found: What was found.
        evidence: What that rests on.
        limits: What it does not show.
    """

    state: str
    headline: str
    found: tuple[str, ...]
    evidence: tuple[str, ...]
    limits: tuple[str, ...]


def plain_verdict(predicate: Told, is_late: bool = False) -> Plain:
    """Return the verdict of a statement, or of a report on a case as it stands.

    Args:
        predicate: What the statement says.
        is_late: Whether the answer came after its due date.
    """
    if predicate.get("standing") is not None:
        return _standing(predicate, predicate["standing"])
    if predicate.get("retired"):
        return _retired(predicate, is_late)
    if predicate["guarantee"] is None:
        return _nothing_held(predicate)
    return _granted(predicate, Guarantee(predicate["guarantee"]["name"]), is_late)


def _nothing_held(predicate: Told) -> Plain:
    found = ["Neither the index of identifiers nor any registered record names this person."]
    searched, limits = list(predicate["searched"]), [OTHER_WORDS]
    asked: Told = predicate.get("finding") or {"answer": "no sign", "why_not": "", "strangers": 0}
    if asked["why_not"]:
        found.append("The model itself was not asked.")
    elif asked["strangers"]:  # a finding that was signed before models were asked says nothing of it
        found.append(SIGNS.get(asked["answer"], SIGNS["cannot say"]))
        searched.append(f"What the model says of them, beside what it says of {asked['strangers']} made-up people.")
        limits.append("That the model does not know them by another name, or in other words.")
    state = "held" if asked["answer"] == "no sign" else "short"
    return Plain(state, "No data about this person were found.", tuple(found), tuple(searched), tuple(limits))


def _retired(predicate: Told, is_late: bool) -> Plain:
    """Say that a model which descended from an erased one is not served any more."""
    pending = sum(copy["is_pending"] for copy in predicate["outside"])
    against = (f"Copies outside this workspace that nobody confirmed to be gone: {pending}.",) if pending else ()
    late = ("The answer came after its due date.",) if is_late else ()
    evidence = ("Its versions were deleted with all that belonged to them.", *_search(predicate))
    headline = "The model that held the person's data was taken out of service, and nothing took its place."
    found = (*predicate["retired"], *against, *late)
    return Plain("short" if against else "held", headline, found, evidence, (COPIES,))


def _granted(predicate: Told, guarantee: Guarantee, is_late: bool) -> Plain:
    told = {Guarantee.EXACT: _exact, Guarantee.EXACT_BY_DATA_FLOW: _by_data_flow, Guarantee.APPROXIMATE: _approximate}
    headline, found, evidence, limit = told[guarantee](predicate)
    against = tuple(_against(predicate))
    kept = ("Part of the data is kept, for the reasons that stand below.",) if predicate["held"] else ()
    state = "short" if against else "held"
    late = ("The answer came after its due date.",) if is_late else ()
    said, limits = (found, *against, *kept, *late), (limit, BASE, COPIES)
    return Plain(state, headline, said, (*evidence, *_search(predicate)), limits)


def _exact(predicate: Told) -> tuple[str, str, tuple[str, ...], str]:
    return (
        "The person's data are out of the model.",
        "The model now in service is the one that would exist had this person's records never been there.",
        ("It was built twice, once by the erasure and once without the records: both are the same, bit for bit.",),
        "That the person cannot be guessed from what others' records say.",
    )


def _by_data_flow(predicate: Told) -> tuple[str, str, tuple[str, ...], str]:
    return (
        "The person's data are out of the model.",
        "Everything that the model learned since it last was free of this person's records was computed again without "
        "them.",
        (
            "The recipe of the model in service names the remaining records alone. Bits were not compared, because "
            "the device or the software had changed.",
        ),
        "That the result is, bit for bit, the model that never had the records.",
    )


def _approximate(predicate: Told) -> tuple[str, str, tuple[str, ...], str]:
    readings, answers = predicate["readings"], predicate["policy"]["answers"]
    decide = decided_by_rules(comparisons_of(readings["after"]), answers)
    attacks = sum(comparison.is_attack for comparison in decide)
    asked = [a for a in answers if a["severity"] == "deny" and not a["reason"].startswith("not asked")]
    found = "The measurements met every rule of the policy. No rule compares the person with people never seen."
    if decide:
        found = (
            f"In {len(decide) - attacks} measurements and under {attacks} attacks the model showed no more than the "
            "allowed difference between the people to be forgotten and people whom it has never seen."
        )
    people = min((comparison.n for comparison in decide), default=0)
    beside = (f"At least {people} people on each side of every comparison that decided.",) if decide else ()
    return (
        "The model was changed until the person's data were no longer told apart. It was not built again without them.",
        found,
        (f"All {len(asked)} rules of the policy “{predicate['policy']['name']}” that can refuse hold.", *beside),
        "That no trace is left in the weights: a stronger test than those named here may find one.",
    )


def _against(predicate: Told) -> Iterator[str]:
    """Yield what speaks against a verdict, or is open."""
    scan = predicate["purge"]["scan"]
    if scan is not None and scan["hits"]:
        yield f"The search afterwards still found the person in {scan['hits']} places."
    elif scan is not None and not scan["is_clean"]:
        yield "The search afterwards could not read everything."
    if pending := sum(copy["is_pending"] for copy in predicate["outside"]):
        yield f"Copies outside this workspace that nobody confirmed to be gone: {pending}."
    found = comparisons_of(predicate["readings"]["after"])
    if apart := [comparison for comparison in found if comparison.margin is not None and comparison.place != "within"]:
        yield f"{len(apart)} of {len(found)} comparisons do not lie within their margin; the policy's rules allow it."
    if alarms := [a for a in predicate["policy"]["answers"] if not a["passed"] and a["severity"] != "deny"]:
        yield f"Alarms of the policy that sounded: {len(alarms)}. They decide nothing, and somebody should look."


def _search(predicate: Told) -> Iterator[str]:
    scan = predicate["purge"]["scan"]
    if scan is not None and scan["is_clean"]:
        yield f"A search of {scan['files']} files after the deletion found nothing of the person."


def _standing(predicate: Told, standing: Told) -> Plain:
    """Say where a case stands that has no certificate."""
    status, policy = standing["status"], predicate["policy"]
    is_changed = predicate["versions"]["after"] is not None
    failed = [a["message"] for a in policy["answers"] if not a["passed"] and a["severity"] == "deny"] if policy else []
    is_denied = bool(policy) and not policy["allowed"]
    has_lost = status == CaseStatus.FAILED and not is_changed and (is_denied or bool(predicate["tried"]))
    evidence = [f"{_rungs(predicate)} Each one's readings stand below."] if has_lost else []
    limits = ["It is no certificate: it is not signed, and it says how the case stood when it was written."]
    if not is_changed:
        limits.append("That the model is free of the person's data: the model in service is the one from before.")
    reason = [standing["reason"]] if standing["reason"] else []
    found = [*failed, *policy["objections"]] if has_lost and is_denied else reason
    return Plain("none", _headline(status, has_lost, is_changed), tuple(found), tuple(evidence), tuple(limits))


def _headline(status: str, has_lost: bool, is_changed: bool) -> str:
    if has_lost:
        return "Not granted: nothing that was tried meets the policy. The model in service was not changed."
    if status == CaseStatus.FAILED:
        kept = "" if is_changed else " The model in service was not changed."
        return f"Not finished: the work stopped before its end.{kept}"
    return DECIDED.get(CaseStatus(status), OPEN)


def _rungs(predicate: Told) -> str:
    names: Sequence[str] = [one["operation"] for one in predicate["tried"]]
    return f"{len(names)} {'method was' if len(names) == 1 else 'methods were'} tried: {', '.join(names)}."
