"""What people do to a case: review, approve, deny, extend, plan anew, cancel."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from amends.errors import BadInput, Denied, Waiting
from amends.governor.cases.branching import reopen_below
from amends.governor.cases.changing import ROLES as CHANGERS
from amends.governor.cases.changing import replan_change
from amends.governor.cases.promoting import KIND as PROMOTION
from amends.governor.cases.promoting import replan_promotion
from amends.governor.cases.requesting import plan_case
from amends.governor.standstill import standstill
from amends.governor.subjects.disclosing import seal_reason
from amends.governor.work import batches, families
from amends.governor.work.leftovers import drop_products
from amends.governor.workspace import Workspace
from amends.ledger import aliases, approvals, cases, datasets, journal, lineage, reviews
from amends.ledger.actions import Action
from amends.policy import extend, read_deadline
from amends.records import Case, CaseStatus, digest_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from amends.ledger.people import Person

APPROVERS = ("dpo", "ml-engineer", "safety-engineer", "admin")
LAST_WORD = {"training": "measure", "promotion": "measure"}  # and "judge" for whatever a policy judges
"""The step after which a version is registered, or an alias moves, so that nothing can be called back."""


def mark(workspace: Workspace, case: str, record: str, mark: str, reason: str) -> Case:
    """Decide what happens to a near miss; the last mark makes the plan.

    Args:
        workspace: Where the case is.
        case: Its id.
        record: The record's id.
        mark: `erase`, `redact`, `keep`, or `hold` for what an exemption keeps (it is restricted and listed).
        reason: Why; kept until the case's key is destroyed.
    """
    actor = workspace.require_role("dpo", "operator")
    written = seal_reason(workspace, case, reason) if reason.strip() else ""
    with workspace.database.transaction() as connection:
        reviews.mark_near_miss(connection, case, record, mark, written, actor.id)
        body = {"record": record, "mark": mark}
        key = f"{case}:marked:{digest_of([record, mark, actor.id])[:16]}"
        workspace.record(connection, key, Action.CASE_REVIEWED, body)
        left = reviews.near_misses_of(connection, case, unmarked=True)
        found = cases.get(connection, case)
    return found if left else plan_case(workspace, case)


def approve(workspace: Workspace, case: str, plan_digest: str = "", reason: str = "") -> tuple[Case, int]:
    """Approve the plan of a case; return the case and how many more people must approve.

    Args:
        workspace: Where the case is.
        case: Its id.
        plan_digest: The digest of the plan that was read, or its first letters; empty means the plan as it stands.
        reason: For the record.

    Raises:
        Denied: The approver asked for the case, read another plan, or has a role that does not count.
    """
    actor = workspace.require_role(*APPROVERS)
    with workspace.database.transaction() as connection:
        found = cases.get(connection, case)
        digest = _the_plan(found, plan_digest)
        _check_role(found, actor)
        approvals.approve(connection, case, digest, actor, "approve", reason)
        workspace.record(
            connection, f"{case}:approved:{digest[:16]}:{actor.id}", Action.CASE_APPROVED, {"plan": digest}
        )
        _approve_below(workspace, connection, found, actor, reason)
        missing = approvals.missing(connection, case)
    return found, missing


def _approve_below(workspace: Workspace, connection: Connection, case: Case, actor: Person, reason: str) -> None:
    """Approve the plans whose digests this plan names; one that was made anew since is approved by itself."""
    for one in (case.plan or {}).get("descendants", ()):
        found = cases.get(connection, one["case"])
        if (found.plan_digest, found.status) == (one["plan"], CaseStatus.AWAITING_APPROVAL):
            approvals.approve(connection, found.id, one["plan"], actor, "approve", reason)
            body = {"plan": one["plan"], "with": case.id}
            key = f"{found.id}:approved:{one['plan'][:16]}:{actor.id}"
            workspace.record(connection, key, Action.CASE_APPROVED, body)


def _end_below(workspace: Workspace, connection: Connection, case: str, status: CaseStatus, reason: str) -> None:
    """End what a case opened and nobody has begun, as it ends itself."""
    action = Action.CASE_CANCELLED if status == CaseStatus.CANCELLED else Action.CASE_DENIED
    for found in families.below(connection, case):
        if found.status in (CaseStatus.LOCATING, CaseStatus.AWAITING_APPROVAL):
            cases.set_status(connection, found.id, status, outcome="refused", reason=reason)
            workspace.record(connection, f"{found.id}:ended", action, {"with": case})


def _check_role(case: Case, actor: Person) -> None:
    """Refuse an approval that the policy will not count, before it fills a place of one that counts."""
    roles = (case.plan or {}).get("approvals", {}).get("roles", ())
    if roles and actor.role not in roles:
        what = "a promotion to this alias" if case.kind == PROMOTION else "this plan"
        raise Denied(f"you are {actor.role}; {what} is approved by {' or '.join(roles)}")


def _the_plan(case: Case, given: str) -> str:
    if case.plan_digest is None:
        raise BadInput(f"case {case.id} has no plan to approve; it is {case.status}")
    if given and not case.plan_digest.startswith(given):
        raise Denied(f"the plan of case {case.id} is {case.plan_digest[:12]} now; read it again before you approve")
    return case.plan_digest


def deny(workspace: Workspace, case: str, reason: str) -> Case:
    """Refuse a request with its exemption or reason; the subject has to be told of it within the same clock."""
    actor = workspace.require_role(*APPROVERS)
    with workspace.database.transaction() as connection:
        digest = _the_plan(cases.get(connection, case), "")
        approvals.approve(connection, case, digest, actor, "deny", reason)
        workspace.record(connection, f"{case}:denied:{digest[:16]}:{actor.id}", Action.CASE_DENIED, {"plan": digest})
        _end_below(workspace, connection, case, CaseStatus.REFUSED, reason)
        return cases.set_status(connection, case, CaseStatus.REFUSED, outcome="refused", reason=reason)


def extend_case(workspace: Workspace, case: str, reason: str, notice_sent_at: datetime) -> Case:
    """Extend the clock, as the regime allows: with a reason, and a notice inside the first period."""
    actor = workspace.require_role("dpo")
    with workspace.database.transaction() as connection:
        beside = cases.detail(connection, case)
        if (above := cases.get(connection, case).parent) is not None:
            raise BadInput(f"case {case} has the clock of the request that opened it; extend case {above}")
        if "deadline" not in beside:
            raise BadInput(f"case {case} has no clock to extend; only requests of data subjects have one")
        first = read_deadline(beside["deadline"])
        longer = extend(first, reason, notice_sent_at)
        cases.set_deadline(connection, case, first.due_at, {"deadline": longer.as_json()})
        found = cases.extend(
            connection, case, due_at=longer.due_at, reason=reason, notice_sent_at=notice_sent_at, person=actor.id
        )
        body = {"due_at": longer.due_at.isoformat(), "notice_sent_at": notice_sent_at.isoformat()}
        workspace.record(connection, f"{case}:extended", Action.CASE_EXTENDED, body)
        for below in families.below(connection, case):
            cases.set_deadline(connection, below.id, longer.due_at, {"deadline": longer.as_json()})
            workspace.record(connection, f"{below.id}:extended", Action.CASE_EXTENDED, {**body, "with": case})
    return found


def replan(workspace: Workspace, case: str) -> Case:
    """Plan a case again, as after a data set was registered or the champion moved; earlier approvals are void.

    Of a request whose own model is done, only what it opens for models that descend from it is planned anew.

    Raises:
        BadInput: What it plans is done, and only the purge is left.
    """
    with workspace.database.read() as connection:
        is_change = "asked" in cases.detail(connection, case)
        workspace.require_role("dpo", "operator", *(CHANGERS if is_change else ("requester",)))
        found = cases.get(connection, case)
        is_past, kind = _is_done(connection, found), found.kind
    if is_past and not (kind == "erasure" and reopen_below(workspace, case)):
        raise BadInput(f"case {case} has its new version already; run `amends cases retry {case}`")
    if is_past:
        with workspace.database.read() as connection:
            return cases.get(connection, case)
    if kind == PROMOTION:
        return replan_promotion(workspace, case)
    return replan_change(workspace, case) if is_change else plan_case(workspace, case)


def _is_done(connection: Connection, case: Case) -> bool:
    """Whether what a case plans is done, but for the purge.

    An erasure that registered its version, and failed before any alias moved to it, is not: whoever approved may be
    gone by then, so that only another plan can be approved.
    """
    lead = batches.of(connection, case.id).lead
    done = journal.steps_of(connection, lead)
    if case.kind == "erasure" and case.status == CaseStatus.FAILED and not families.is_withdrawn(done):
        return "promote" in done or aliases.moved_by(connection, case.model, [lead])
    return batches.has_replaced(done)


def cancel(workspace: Workspace, case: str, reason: str) -> Case:
    """Stop a case that nobody wants any more; what is being trained stops at its next step.

    Raises:
        Denied: It has ended, what it made is about to be registered, or is, or it moved an alias or took one away.
    """
    with workspace.database.transaction() as connection:
        is_change = "asked" in cases.detail(connection, case)
        workspace.require_role("dpo", "operator", "requester", *(CHANGERS if is_change else ("ml-engineer",)))
        found = cases.get(connection, case)
        lead = str(cases.detail(connection, case).get("lead", case))
        done = journal.steps_of(connection, lead)
        has_stopped = found.status in (CaseStatus.FAILED, CaseStatus.AWAITING_APPROVAL)
        last = "promote" if has_stopped else LAST_WORD.get(found.kind, "judge")
        is_past = families.is_withdrawn(done) if families.retires(found) else last in done
        is_past = is_past or aliases.moved_by(connection, found.model, [lead])
        if found.status == CaseStatus.CANCELLED or is_past:
            raise Denied(f"case {case} is {found.status} and past the point where it can be cancelled; let it end")
        _withdraw(connection, found.model, done)
        _end_below(workspace, connection, case, CaseStatus.CANCELLED, reason)
        found = cases.set_status(connection, case, CaseStatus.CANCELLED, outcome="refused", reason=reason)
        workspace.record(connection, f"{case}:cancelled", Action.CASE_CANCELLED, {})
    with suppress(Waiting), standstill(workspace):  # else whoever carries it out drops what was made
        drop_products(workspace, lead)
        with workspace.database.transaction() as connection:
            journal.forget_steps(connection, lead)
    return found


def _withdraw(connection: Connection, model: str, done: Mapping[str, Mapping[str, Any]]) -> None:
    """Seal a candidate that was registered and never promoted, and what was written for it: nobody is to use them."""
    if "register" in done and "promote" not in done:
        lineage.set_status(connection, model, done["register"]["version"], "sealed")
        for old, blobs in done.get("prepare", {}).get("datasets", {}).items():
            if blobs["train"] not in (old, blobs["from"]):
                datasets.set_status(connection, blobs["train"], "superseded")
