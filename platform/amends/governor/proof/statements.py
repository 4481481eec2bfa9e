"""The in-toto statement of a certificate: what it says, its title, and what must be true for that title."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from amends.errors import BadInput
from amends.governor.proof.evidence import NO_DATA_HELD, SELF_ATTESTED, Asked, Evidence, Tried
from amends.governor.proof.inference import inference_of
from amends.governor.proof.plots import thresholds_of
from amends.governor.proof.risks import limits_of, risks_of
from amends.records import Guarantee, ModelVersion, Reading, Verdict

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://amends.dev/erasure/v1"
CERTIFICATE = "Certificate of erasure"
MEASURES = "Record of measures taken"
NEGATIVE = "Finding: no data held"
RETIREMENT = "Record of retirement"

GRANTED = ("granted", "partly granted")
SAID = ("verdict", "half", "untried")
"""The words of a reading's detail that a statement keeps; its numbers it keeps all."""

MEANINGS = {
    Guarantee.EXACT: (
        "The model now in service is, bit for bit, the model that a fresh process builds by the same plan "
        "when this person's records were never there."
    ),
    Guarantee.EXACT_BY_DATA_FLOW: (
        "Everything the model learned after the last state that was free of this person's records was computed again "
        "from the remaining records. The result was not compared bit by bit: the device or the software had changed."
    ),
    Guarantee.APPROXIMATE: (
        "The model was changed until measurements no longer told this person's records from records it never saw. "
        "It was not built again without them; what was measured, and how surely, is printed here."
    ),
}


def title_of(guarantee: str | None, outcome: str, is_retired: bool = False) -> str:
    """Return the only title that a guarantee and an outcome allow.

    Args:
        guarantee: What is promised of the model in service; None where there is none.
        outcome: What became of the request.
        is_retired: Whether the model was taken out of service, and nothing is promised because nothing is served.

    Raises:
        BadInput: There is no title for them.
    """
    if outcome == NO_DATA_HELD and guarantee is None:
        return NEGATIVE
    if is_retired and guarantee is None and outcome in GRANTED:
        return RETIREMENT
    if guarantee in (Guarantee.EXACT, Guarantee.EXACT_BY_DATA_FLOW):
        return CERTIFICATE
    if guarantee == Guarantee.APPROXIMATE:
        return MEASURES
    raise BadInput(f"nothing can be attested for the outcome {outcome!r} with the guarantee {guarantee!r}")


def build_statement(evidence: Evidence) -> dict[str, Any]:
    """Return the statement, not yet with the digest of its page.

    Raises:
        BadInput: The evidence does not carry the title that its guarantee asks for.
    """
    title = title_of(evidence.guarantee, evidence.outcome, bool(evidence.retired))
    predicate = build_predicate(evidence, title)
    for objection in objections_to(predicate):
        raise BadInput(f"case {evidence.case} cannot be attested as {title!r}: {objection}")
    return {
        "_type": STATEMENT_TYPE,
        "subject": subjects_of(predicate["versions"]),
        "predicateType": PREDICATE_TYPE,
        "predicate": predicate,
    }


def build_predicate(evidence: Evidence, title: str) -> dict[str, Any]:
    """Return what the evidence says under a title; whether it carries that title is not asked here."""
    return {
        "title": title,
        "case": _case(evidence),
        "guarantee": _guarantee(evidence),
        "versions": {"before": _version(evidence.before), "after": _version(evidence.after)},
        "lineage": evidence.lineage,
        "history": _history(evidence),
        "method": None if evidence.method is None else asdict(evidence.method),
        "tried": [_tried(one) for one in evidence.tried],
        "readings": _readings(evidence),
        "policy": _policy(evidence.verdict),
        "approvals": [asdict(approval) for approval in evidence.approvals],
        "purge": {"items": [asdict(item) for item in evidence.purged], "scan": evidence.scan},
        "suppression": evidence.suppression,
        "searched": list(evidence.searched),
        "finding": None if evidence.asked is None else _finding(evidence.asked),
        "held": list(evidence.held),
        "retired": list(evidence.retired),
        "family": {
            "above": [asdict(one) for one in evidence.above],
            "descendants": [asdict(one) for one in evidence.descendants],
        },
        "outside": [{**asdict(copy), "is_pending": not copy.confirmed_at} for copy in evidence.outside],
        "residual_risks": [*risks_of(evidence), *evidence.residual_risks],
        "anchor": evidence.anchor or SELF_ATTESTED,
        "audit": {"entry": dict(evidence.entry), "inclusion": dict(evidence.inclusion)},
    }


def subjects_of(versions: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the old and the new version as in-toto names them."""
    both = [version for version in (versions.get("before"), versions.get("after")) if version]
    return [
        {"name": f"{version['name']}@{version['version']}", "digest": {"sha256": version["digest"]}} for version in both
    ]


def objections_to(predicate: Mapping[str, Any]) -> list[str]:
    """Return what in a predicate contradicts its own title, one sentence each."""
    guarantee, case = predicate["guarantee"], predicate["case"]
    name = None if guarantee is None else guarantee["name"]
    found = list(_objections_to_family(predicate.get("family")))
    title = title_of(name, case["outcome"], bool(predicate.get("retired")))
    if predicate["title"] != title:
        found.append(f"its title must be {title!r}")
    if predicate["title"] == NEGATIVE:
        return [*found, *_objections_to_finding(predicate.get("finding"))]
    if predicate["title"] == RETIREMENT:
        return [*found, *_objections_to_retirement(predicate)]
    if name == Guarantee.EXACT and not guarantee["rebuilt"]:
        found.append("it is called exact, but names no digest of a rebuild")
    if name == Guarantee.EXACT and guarantee["rebuilt"] != guarantee["counterfactual"]:
        found.append("it is called exact, but the rebuild and the run without the records have different digests")
    if predicate["versions"]["after"] is None or predicate["method"] is None:
        found.append("it names no new version or no method")
    if predicate["policy"] is None or not predicate["policy"]["allowed"]:
        found.append("the policy did not allow the candidate")
    scan = predicate["purge"]["scan"]
    if predicate["title"] == CERTIFICATE and (scan is None or not scan["is_clean"]):
        found.append("no clean scan shows that the records are gone; purge and scan again")
    return found


def _objections_to_family(family: Mapping[str, Any] | None) -> list[str]:
    """Return what keeps a request open; what was signed before there were such cases has no family."""
    open_cases = [one for one in (family or {}).get("descendants", ()) if not one["certificate"]]
    return [f"case {one['case']} on {one['model']} has no certificate" for one in open_cases]


def _objections_to_retirement(predicate: Mapping[str, Any]) -> list[str]:
    scan, found = predicate["purge"]["scan"], []
    if predicate["versions"]["after"] is not None:
        found.append("the model is called retired, but a new version is named")
    if scan is None or not scan["is_clean"]:
        found.append("no clean scan shows that the records are gone; purge and scan again")
    return found


def _objections_to_finding(finding: Mapping[str, Any] | None) -> list[str]:
    """Return what keeps a finding from being one; those signed before models were asked have nothing of it."""
    if finding is None:
        return []
    policy = finding["policy"]
    is_allowed = bool(finding["why_not"]) if policy is None else policy["allowed"]
    return [] if is_allowed else ["the policy did not allow the finding"]


def _case(evidence: Evidence) -> dict[str, Any]:
    names = ("model", "outcome", "regime", "received_at", "due_at", "completed_at", "issued_at", "commitment")
    return {"id": evidence.case, **{name: getattr(evidence, name) for name in names}}


def _guarantee(evidence: Evidence) -> dict[str, Any] | None:
    if evidence.guarantee is None:
        return None
    return {
        "name": str(evidence.guarantee),
        "meaning": MEANINGS[evidence.guarantee],
        "rebuilt": evidence.rebuilt_digest,
        "counterfactual": evidence.counterfactual_digest,
    }


def _version(version: ModelVersion | None) -> dict[str, Any] | None:
    return None if version is None else asdict(version)


def _history(evidence: Evidence) -> dict[str, Any] | None:
    known = evidence.history
    if known is None:
        return None
    promised = "" if evidence.guarantee is None else str(evidence.guarantee)
    before = {"steps": [asdict(step) for step in known.before], "guarantee": known.guarantee_before}
    after = {"steps": [asdict(step) for step in known.after], "guarantee": promised}
    return {
        "base": _version(known.base),
        "before": {**asdict(evidence.before), **before},
        "after": None if evidence.after is None else {**asdict(evidence.after), **after},
    }


def _readings(evidence: Evidence) -> dict[str, Any]:
    answers = evidence.verdict.answers if evidence.verdict is not None else ()
    read = {
        "before": [_reading(reading) for reading in evidence.readings_before],
        "after": [_reading(reading) for reading in evidence.readings_after],
    }
    judged = 1 + sum(bool(one.readings) for one in evidence.tried)
    told = inference_of(
        evidence.guarantee, read, [asdict(a) for a in answers], judged=judged, is_strange=evidence.is_strange
    )
    return {
        **read,
        "explanations": dict(evidence.explanations),
        "thresholds": [asdict(threshold) for threshold in thresholds_of(answers, evidence.readings_before)],
        "inference": told,
    }


def _finding(asked: Asked) -> dict[str, Any]:
    return {
        "answer": asked.answer,
        "why_not": asked.why_not,
        "kinds": list(asked.kinds),
        "questions": asked.questions,
        "strangers": asked.strangers,
        "readings": [_reading(reading) for reading in asked.readings],
        "explanations": dict(asked.explanations),
        "policy": _policy(asked.verdict),
        "decision": asked.decision,
        "limits": list(limits_of(asked)),
    }


def _tried(one: Tried) -> dict[str, Any]:
    return {**asdict(replace(one, readings=())), "readings": [_reading(reading) for reading in one.readings]}


def _reading(reading: Reading) -> dict[str, Any]:
    """Write a reading with what its detail says of how it was judged; what is not a finite number becomes null."""
    fields = {**asdict(replace(reading, detail={})), "detail": _detail(reading.detail)}
    return {name: None if _is_no_number(value) else value for name, value in fields.items()}


def _detail(detail: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers and claims of a detail, and of its words those that say how a test went.

    Words that a plugin wrote for itself stay out of what is signed: nobody has read them for names.
    """
    said = {name: value for name, value in detail.items() if isinstance(value, int | float) or name in SAID}
    return {name: None if _is_no_number(value) else value for name, value in said.items()}


def _is_no_number(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _policy(verdict: Verdict | None) -> dict[str, Any] | None:
    if verdict is None:
        return None
    return {
        "name": verdict.policy,
        "digest": verdict.policy_digest,
        "allowed": verdict.allowed,
        "answers": [asdict(answer) for answer in verdict.answers],
        "objections": list(verdict.objections),
    }
