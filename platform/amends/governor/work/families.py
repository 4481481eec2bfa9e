"""A request and the cases that it opened for other models: what waits for what, and what keeps it open."""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING

from amends.ledger import approvals, cases, journal, lineage
from amends.policy import Descendants
from amends.records import Case, CaseStatus

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from amends.governor.work.piece import Work

REPLACED = (CaseStatus.SEALED, CaseStatus.COMPLETE)
STOPPED = (CaseStatus.CANCELLED, CaseStatus.REFUSED, CaseStatus.DENIED)
PURGED = "purge:purge"
WITHDRAWN = "withdraw:here"
"""What a retirement leaves in its journal once its versions are out of service here; MLflow and the result follow."""
WAYS = {
    CaseStatus.AWAITING_APPROVAL: "have it approved: amends cases approve {id}",
    CaseStatus.FAILED: "mend what its reason says: amends cases retry {id}",
    CaseStatus.IN_PROGRESS: "follow it: amends cases watch {id}; if its process died: amends work",
    CaseStatus.SEALED: "purge it: amends cases purge",
}
ANEW = "open another for {model}: amends cases replan {root}"


def waits_for(connection: Connection, case: Case) -> list[str]:
    """Return the cases that have to replace their versions before this one can begin, as its plan says."""
    if case.parent is None:
        return []
    plan = cases.get(connection, case.id).plan or {}
    above = [cases.get(connection, id) for id in plan.get("after", [case.parent])]
    return [found.id for found in above if not has_replaced(connection, found)]


def has_replaced(connection: Connection, case: Case) -> bool:
    """Whether nothing that a case is about is served any more; it may have failed since, at its purge."""
    if case.status in REPLACED:
        return True
    done = journal.steps_of(connection, str(cases.detail(connection, case.id).get("lead", case.id)))
    return case.status not in STOPPED and bool({"promote", "withdraw"} & done.keys())


def is_ready(connection: Connection, case: Case) -> bool:
    """Whether a case waits for no other."""
    return not waits_for(connection, case)


def retires(case: Case) -> bool:
    """Whether a case's plan takes its model out of service; the case is as `get` returns it, with its plan."""
    return str((case.plan or {}).get("how", "")) == Descendants.RETIRE


def is_withdrawn(done: Container[str]) -> bool:
    """Whether the steps that were done took a model out of service, which nothing calls back."""
    return WITHDRAWN in done or "withdraw" in done


def below(connection: Connection, case: str) -> list[Case]:
    """Return what a case opened, and these in turn: of each model the case that was opened last."""
    found: dict[str, Case] = {}
    family = cases.family(connection, case)
    opened = {case}
    for member in family:
        if member.parent in opened:
            opened.add(member.id)
            known = found.get(member.model)
            if known is None or _opened(connection, member) > _opened(connection, known):
                found[member.model] = member
    return list(found.values())


def _opened(connection: Connection, case: Case) -> tuple[str, str]:
    return str(cases.detail(connection, case.id)["opened_at"]), case.id


def open_below(connection: Connection, case: str) -> list[Case]:
    """Return the cases below this one that keep it open: they have not closed, and their models hold the person."""
    return [found for found in below(connection, case) if _keeps_open(connection, found)]


def unreplaced_below(connection: Connection, case: str) -> list[Case]:
    """Return those of them whose models still serve what has to go."""
    return [found for found in open_below(connection, case) if not has_replaced(connection, found)]


def _keeps_open(connection: Connection, case: Case) -> bool:
    if case.status not in STOPPED:
        return case.status != CaseStatus.COMPLETE
    held = (cases.get(connection, case.id).plan or {}).get("holds", {}).get("versions", ())
    alive = lineage.versions_of(connection, case.model)
    return any(version.status in lineage.STANDING and str(version.name) in held for version in alive)


def may_attest(connection: Connection, work: Work) -> bool:
    """Whether nothing of these cases' families is left to be deleted, and all below them have closed."""
    for case in work.cases:
        if open_below(connection, case):
            return False
        root = cases.family(connection, case)[0]
        others = [member for member in (root, *below(connection, root.id)) if member.id not in work.cases]
        if not all(has_purged(connection, member) for member in others):
            return False
    return True


def has_purged(connection: Connection, case: Case) -> bool:
    """Whether a case has deleted what it is to delete, or has ended without."""
    if case.status in (CaseStatus.COMPLETE, *STOPPED):
        return True
    return PURGED in journal.steps_of(connection, str(cases.detail(connection, case.id).get("lead", case.id)))


def models_of_others(connection: Connection, work: Work) -> set[str] | None:
    """Return the models whose versions other cases of the family purge; None where these purge their own alone."""
    members = [cases.get(connection, case) for case in work.cases]
    if all(member.parent is not None for member in members):
        return None
    roots = [cases.family(connection, member.id)[0] for member in members]
    family = [one for root in roots for one in (root, *below(connection, root.id)) if one.status not in STOPPED]
    return {one.model for one in family} - {work.model}


def what_to_do(connection: Connection, case: str) -> list[str]:
    """Return one sentence for each case that keeps this one open, with the way on."""
    root = cases.family(connection, case)[0].id
    told = []
    for found in open_below(connection, case):
        is_allowed = found.status == CaseStatus.AWAITING_APPROVAL and not approvals.missing(connection, found.id)
        way = "carry it out: amends work" if is_allowed else WAYS.get(found.status, ANEW)
        what = way.format(id=found.id, model=found.model, root=root)
        told.append(f"case {found.id} on {found.model} is {found.status}; {what}")
    return told
