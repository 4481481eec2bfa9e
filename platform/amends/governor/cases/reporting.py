"""Report a case as one page: its certificate where there is one, else how it stands, unsigned and saying so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from amends.errors import BadInput
from amends.governor.cases.viewing import certificate_of
from amends.governor.models.promoting import champion
from amends.governor.proof.evidence import Evidence, Tried
from amends.governor.proof.page import day, render_page
from amends.governor.proof.statements import build_predicate
from amends.governor.work import batches
from amends.governor.work.ancestry import history_of
from amends.governor.work.attesting import approved, explained, lineage_of, method_of, tried_rungs
from amends.governor.work.climbing import ladder_of, rung_of
from amends.governor.work.measuring import readings
from amends.governor.work.piece import Work
from amends.governor.workspace import Workspace
from amends.ledger import cases, decisions, journal
from amends.policy import read_deadline
from amends.records import Case, CaseStatus, ModelVersion

READERS = ("requester", "operator", "dpo", "auditor")
TITLE = "Report of an erasure case"
MEND = (
    "Let the policy name further methods, or register more people who stay withheld, so that smaller differences can "
    "be shown; then plan again: amends cases replan {case}"
)
REFUSE = "Or refuse the request with its reason: amends cases deny {case} --reason …"
TELL = "Whatever is decided, the person has to be told by {day}."
TOLD = "The person has to be told of it, with the reason and where they may complain, by {day}."


@dataclass(frozen=True)
class Report:
    """One self-contained page, and whether it is the one that was signed."""

    page: str
    is_signed: bool


def report_case(workspace: Workspace, id: str, next_steps: Sequence[str] = ()) -> Report:
    """Return the page of a case: what was signed, or a report of how it stands.

    Args:
        workspace: Where the case is.
        id: Its id.
        next_steps: Who has to do what now, as the case's view says it.

    Raises:
        BadInput: It is no erasure, or its page is gone.
        Denied: Who acts neither answers requests nor audits.
    """
    workspace.require_role(*READERS)
    with workspace.database.read() as connection:
        case = cases.get(connection, id)
    if case.kind != "erasure":
        raise BadInput(f"case {id} is of kind {case.kind}, and only erasures have a report; see amends cases show {id}")
    known = certificate_of(workspace, id)
    if known is None:
        return Report(render_page({"predicate": _predicate(workspace, case, next_steps)}), False)
    try:
        return Report(Path(known["page"]).read_text(encoding="utf-8"), True)
    except OSError:
        raise BadInput(f"the signed page of case {id} cannot be read; restore it from a backup") from None


@dataclass(frozen=True)
class _Seen:
    """What the ledger holds of a case: itself, the work it belongs to, what stands beside it, and the steps done."""

    case: Case
    work: Work
    beside: Mapping[str, Any]
    steps: Mapping[str, Any]

    @property
    def decision(self) -> str:
        """The id of the decision on what was tried last; empty where it was not judged."""
        if "judge" in self.steps:
            return str(self.steps["judge"]["decision"])
        return f"{self.work.lead}-erasure-{self.beside['attempt']}" if self.beside.get("failed") == "judge" else ""

    @property
    def before(self) -> ModelVersion | None:
        """The version that the work began with, if it has begun."""
        if "prepare" not in self.steps:
            return None
        parent = self.steps["prepare"]["parent"]
        if parent is None:
            return None
        return ModelVersion(self.case.model, parent["version"], parent["digest"])

    @property
    def after(self) -> ModelVersion | None:
        """The version that was put into service, if one was."""
        if "promote" not in self.steps:
            return None
        return ModelVersion(self.case.model, self.steps["register"]["version"], self.steps["register"]["digest"])


def _predicate(workspace: Workspace, case: Case, next_steps: Sequence[str]) -> dict[str, Any]:
    with workspace.database.read() as connection:
        work, beside = batches.of(connection, case.id), cases.detail(connection, case.id)
        seen = _Seen(case, work, beside, journal.steps_of(connection, work.lead))
    evidence = _evidence(workspace, seen)
    standing = {
        "status": str(case.status),
        "reason": case.reason or "",
        "lead": work.lead,
        "decision": "" if evidence.verdict is None else seen.decision,
        "next": [*next_steps, *_ways(case, bool(evidence.tried))],
    }
    return {**build_predicate(evidence, TITLE), "standing": standing}


def _evidence(workspace: Workspace, seen: _Seen) -> Evidence:
    """Return what is known so far; what was not done yet is left out."""
    case, beside, offered = seen.case, seen.beside, workspace.host.probes
    before = seen.before or champion(workspace, case.model)
    measured = seen.steps.get("measure", {"before": [], "after": []})
    read = {when: readings(measured, when) for when in ("before", "after")}
    known = [reading for some in read.values() for reading in some if reading.name.rpartition("/")[0] in offered]
    with workspace.database.read() as connection:
        verdict = next((d.verdict for d in decisions.find(connection, seen.work.lead) if d.id == seen.decision), None)
        allowed = approved(connection, case.id)
    evidence = Evidence(
        case=case.id,
        model=case.model,
        outcome=case.outcome or "",
        commitment="",
        regime=read_deadline(beside["deadline"]).rule,
        received_at=case.received_at.isoformat(),
        due_at=case.due_at.isoformat(),
        completed_at="",
        issued_at=datetime.now(UTC).isoformat(timespec="seconds"),
        before=before or ModelVersion(case.model, 0, "0" * 64),
        after=seen.after,
        readings_before=read["before"],
        readings_after=read["after"],
        is_strange="control" in measured.get("strangers", ()),
        explanations=explained(workspace, known),
        verdict=verdict,
        tried=(*tried_rungs(workspace, seen.work), *_last(workspace, seen)),
        approvals=allowed,
        entry={},
        inclusion={},
    )
    return evidence if before is None else _with_origin(workspace, seen, evidence)


def _with_origin(workspace: Workspace, seen: _Seen, known: Evidence) -> Evidence:
    """Return the evidence with where the versions come from, and how the last one was made."""
    digest, rebuilt, plan = known.before.digest, seen.steps.get("rebuild"), str(seen.case.plan_digest or "")
    return replace(
        known,
        method=method_of(workspace, rebuilt, digest, rebuilt["operation"], plan) if rebuilt else None,
        lineage=lineage_of(workspace, digest),
        history=history_of(workspace, digest, known.after.digest if known.after else None),
    )


def _last(workspace: Workspace, seen: _Seen) -> Iterator[Tried]:
    """Yield the method that a failed case ended with; its readings are the page's own."""
    if seen.case.status != CaseStatus.FAILED or seen.beside.get("failed") not in ("rebuild", "judge"):
        return
    ladder, number = ladder_of(workspace, seen.work), rung_of(workspace, seen.work)
    planned = ladder[number] if number < len(ladder) else ""
    operation = str(seen.steps.get("rebuild", {}).get("operation", planned))
    yield Tried(operation, str(seen.steps.get("compare", {}).get("guarantee", "")), seen.case.reason or "")


def _ways(case: Case, was_tried: bool) -> Iterator[str]:
    """Yield what else can be done, and what the person is owed."""
    told = {"case": case.id, "day": day(case.due_at.isoformat())}
    if case.status == CaseStatus.FAILED and was_tried:
        yield MEND.format(**told)
        yield REFUSE.format(**told)
    if case.status in (CaseStatus.REFUSED, CaseStatus.DENIED):
        yield TOLD.format(**told)
    elif case.status != CaseStatus.CANCELLED:
        yield TELL.format(**told)
