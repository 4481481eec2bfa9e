"""Which cases are carried out together, kept in the ledger, so that a crash, a failure or a second thought loses none.

Each case remembers its lead, its batch and the attempt. A case that cannot go on leaves the batch, and the rest
begins again as a batch of its own: what was built with the one that left is no longer what is wanted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from amends.errors import BadInput, Waiting
from amends.governor.work import families
from amends.governor.work.leftovers import Steps, drop_products
from amends.governor.work.piece import Work
from amends.governor.workspace import Workspace
from amends.ledger import aliases, approvals, cases, journal, lineage
from amends.ledger.actions import Action
from amends.records import Case, CaseStatus

if TYPE_CHECKING:
    from sqlalchemy import Connection

S = CaseStatus
ERASURE, RETIREMENT = "erasure", "retirement"


def form(workspace: Workspace, case: str) -> Work:
    """Begin an approved case; an erasure with every other one of its model that the same people approved.

    Raises:
        Waiting: Its plan is not approved yet, or another case of its request goes first.
    """
    with workspace.database.read() as connection:
        found = check_approved(connection, case)
        kind = _what(cases.get(connection, case))
        waiting = cases.find(connection, model=found, kind="erasure", status=S.AWAITING_APPROVAL, limit=None)
        wanted = _approvers(connection, case)
        alike = [other for other in waiting if other.id != case and _goes_along(connection, kind, other)]
        others = [other.id for other in alike]
        same = [id for id in others if not approvals.missing(connection, id) and _approvers(connection, id) == wanted]
    for member in (case, *same):  # what an attempt under an earlier plan left
        drop_products(workspace, member)
    with workspace.database.transaction() as connection:
        check_approved(connection, case)
        for member in (case, *same):
            journal.forget_steps(connection, member)
        return begin(workspace, connection, kind, found, (case, *same))


def _goes_along(connection: Connection, kind: str, other: Case) -> bool:
    """Whether a case of the same model may be carried out with one of this kind."""
    is_alike = kind in (ERASURE, RETIREMENT) and _what(cases.get(connection, other.id)) == kind
    return is_alike and families.is_ready(connection, other)


def _what(case: Case) -> str:
    """Return what an approved case will be doing: an erasure, a retirement, a promotion, a change, or a search."""
    if families.retires(case):
        return RETIREMENT
    if case.kind in ("erasure", "promotion"):
        return case.kind
    return "search" if "candidates" in (case.plan or {}) else "change"


def check_approved(connection: Connection, case: str) -> str:
    """Return the model of a case that may begin.

    Raises:
        Waiting: It lacks approvals, has begun, or waits for another case of its request.
    """
    found = cases.get(connection, case)
    if found.status != S.AWAITING_APPROVAL:
        raise Waiting(f"case {case} is {found.status} and not awaiting approval; see `amends cases show {case}`")
    if missing := approvals.missing(connection, case):
        raise Waiting(f"case {case} is {found.status} and lacks {missing} approvals")
    if above := families.waits_for(connection, found):
        raise Waiting(
            f"case {case} begins once case {above[0]} has replaced its version; see `amends cases show {above[0]}`"
        )
    return found.model


def _approvers(connection: Connection, case: str) -> set[tuple[str, str]]:
    return {(given.person, str(given.role)) for given in approvals.counting(connection, case)}


def begin(workspace: Workspace, connection: Connection, kind: str, model: str, members: tuple[str, ...]) -> Work:
    """Bring cases to `in progress` as one piece of work; its attempt is higher than any that one of them had."""
    attempt = 1 + max(int(cases.detail(connection, case).get("attempt", -1)) for case in members)
    work = Work(members[0], members, model, attempt)
    for case in members:
        beside = {"doing": kind, "lead": work.lead, "batch": list(members), "attempt": attempt}
        cases.add_detail(connection, case, beside)
        found = cases.set_status(connection, case, S.IN_PROGRESS)
        body = {"kind": kind, "lead": work.lead, "attempt": attempt}
        workspace.record(connection, f"{case}:started:{attempt}", Action.CASE_STARTED, body, found.requester)
    return work


def of(connection: Connection, case: str) -> Work:
    """Return the piece of work that a case belongs to."""
    beside = cases.detail(connection, case)
    members = tuple(beside.get("batch", [case]))
    return Work(beside.get("lead", case), members, cases.get(connection, case).model, int(beside.get("attempt", 0)))


def kind_of(connection: Connection, work: Work) -> str:
    """Return what is being done, or was when it stopped; after an erasure that is its `purge`."""
    return str(cases.detail(connection, work.lead).get("doing", cases.get(connection, work.lead).kind))


def interrupted(connection: Connection) -> list[Work]:
    """Return every piece of work that was begun and not ended."""
    found = cases.find(connection, status=S.IN_PROGRESS, limit=None)
    works = {work.lead: work for work in (of(connection, case.id) for case in found)}
    return [work for _, work in sorted(works.items())]


def following(connection: Connection, work: Work) -> Work | None:
    """Return the piece of work that took this one's place, if one did and it is not done yet."""
    for case in work.cases:
        found = of(connection, case)
        if found.attempt > work.attempt and cases.get(connection, case).status == S.IN_PROGRESS:
            return found
    return None


def go_on_without(workspace: Workspace, work: Work, gone: Iterable[str], step: str = "", reason: str = "") -> None:
    """Take cases out of a piece of work and begin the rest again.

    Before anything is registered the rest starts anew, for what was built lacks one person too many. Afterwards
    each side keeps what was done.

    Args:
        workspace: Where they are.
        work: What is being carried out.
        gone: The cases that leave.
        step: The step that failed for them.
        reason: Why they failed; empty where they were cancelled and say so themselves.
    """
    out = [case for case in work.cases if case in set(gone)]
    rest = tuple(case for case in work.cases if case not in out)
    with workspace.database.read() as connection:
        done = journal.steps_of(connection, work.lead)
        kind = kind_of(connection, work)
    is_past = has_replaced(done)
    if not is_past:
        drop_products(workspace, work.lead)
    with workspace.database.transaction() as connection:
        if not is_past:
            journal.forget_steps(connection, work.lead)
        for case in out:
            cases.add_detail(connection, case, {"lead": case, "batch": [case], "attempt": work.attempt})
            if reason:
                fail_one(workspace, connection, work, case, step, reason)
        for lead in {*out, *rest[:1]} - {work.lead}:
            for step, result in done.items() if is_past else ():
                journal.record_step(connection, lead, step, result)
        if rest:
            begin(workspace, connection, kind, work.model, rest)


def has_replaced(done: Steps) -> bool:
    """Whether work has registered its new version, or taken its aliases away: what is left is the purge."""
    return "register" in done or families.is_withdrawn(done)


def fail(workspace: Workspace, work: Work, step: str, reason: str) -> None:
    """Leave every case of a piece of work failed with a reason that a person understands."""
    with workspace.database.transaction() as connection:
        for case in work.cases:
            fail_one(workspace, connection, work, case, step, reason)


def fail_one(workspace: Workspace, connection: Connection, work: Work, case: str, step: str, reason: str) -> None:
    """Leave one case failed."""
    found = cases.get(connection, case)
    if found.status == S.IN_PROGRESS:
        cases.set_status(connection, case, S.FAILED, reason=reason)
        cases.add_detail(connection, case, {"failed": step})
        key = f"{case}:failed:{work.attempt}"
        workspace.record(connection, key, Action.CASE_FAILED, {"step": step}, found.requester)


AGAIN = {"judge": ("measure",), "compare": ("rebuild", "counterfactual")}
"""What is done again besides a step that failed: a mended policy may want other probes."""


def again(workspace: Workspace, case: str) -> Work:
    """Begin a failed case again with those that failed beside it, from the step that failed.

    Raises:
        BadInput: It has not failed.
    """
    with workspace.database.read() as connection:
        found, known = cases.get(connection, case), of(connection, case)
        if found.status != S.FAILED:
            raise BadInput(f"case {case} is {found.status}; only a failed case can be tried again")
        beside = [m for m in known.cases if (of(connection, m).lead, of(connection, m).attempt) == _key(known)]
        members = tuple(m for m in beside if cases.get(connection, m).status == S.FAILED)
        done: Steps = journal.steps_of(connection, known.lead)
        failed = cases.detail(connection, case).get("failed", "")
        kind = kind_of(connection, known)  # a promotion looks at everything again
        is_whole = kind != "promotion" and members == known.cases and not _is_stale(connection, known, done)
    if not is_whole and kind != "training" and "promote" not in done and not families.is_withdrawn(done):
        drop_products(workspace, known.lead)
        done = {}
    kept = {step: result for step, result in done.items() if step not in AGAIN.get(failed, ())}
    if failed == "compare":
        drop_products(workspace, known.lead, AGAIN[failed])
    with workspace.database.transaction() as connection:
        journal.forget_steps(connection, known.lead)
        for step, result in kept.items():
            journal.record_step(connection, members[0], step, result)
        work = begin(workspace, connection, kind, found.model, members)
        body = {"attempt": work.attempt}
        workspace.record(connection, f"{case}:retried:{work.attempt}", Action.CASE_RETRIED, body)
    return work


def _key(work: Work) -> tuple[str, int]:
    return work.lead, work.attempt


def _is_stale(connection: Connection, work: Work, done: Steps) -> bool:
    """Whether the champion is no longer the version that these steps began from, or a teacher's heir was replaced.

    A champion that this work itself moved, before it failed to tell MLflow, is the one that it goes on from.
    """
    if "prepare" not in done or "promote" in done or families.is_withdrawn(done):
        return False
    heirs = [lineage.by_digest(connection, digest) for digest in done["prepare"].get("models", {}).values()]
    if not all(any(version.status == "active" for version in some) for some in heirs):
        return True
    moves = aliases.history(connection, work.model, aliases.DEFAULT)
    if moves and moves[-1].case_id == work.lead:
        return False
    began = done["prepare"]["parent"]
    standing = aliases.current(connection, work.model, aliases.DEFAULT)
    return bool(standing != (None if began is None else began["version"]))
