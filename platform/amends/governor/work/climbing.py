"""Climb a plan's ladder: where the policy refuses what one operation made, the next one is tried.

What each rung gave stays in the journal: the operation, its readings, and why it was not enough.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from amends.errors import AmendsError, Denied, Refused
from amends.governor.work import batches
from amends.governor.work.leftovers import drop_products
from amends.governor.work.piece import Result, Work, plans_of
from amends.governor.workspace import Workspace
from amends.ledger import approvals, journal
from amends.ledger.actions import Action
from amends.records import Guarantee

if TYPE_CHECKING:
    from sqlalchemy import Connection

RUNG = ("rebuild", "counterfactual", "compare", "measure")
"""The steps that are done anew on each rung; `judge` has no result where it refuses."""
TRIED = "tried"


def ladder_of(workspace: Workspace, work: Work) -> tuple[str, ...]:
    """Return the operations to try, in order: those of the first plan, then what only the others name."""
    found: dict[str, None] = {}
    for plan in plans_of(workspace, work):
        rungs: Sequence[Mapping[str, Any]] = plan.get("ladder") or [plan]
        found |= {str(rung["operation"]): None for rung in rungs}
    return tuple(found)


def tried(connection: Connection, lead: str) -> list[Result]:
    """Return what every rung before this one gave, the first one first."""
    steps = journal.steps_of(connection, lead)
    return [steps[f"{TRIED}:{n}"] for n in range(len(steps)) if f"{TRIED}:{n}" in steps]


def rung_of(workspace: Workspace, work: Work) -> int:
    """Return how many rungs were tried before this one."""
    with workspace.database.read() as connection:
        return len(tried(connection, work.lead))


def tried_before(workspace: Workspace, work: Work) -> str:
    """Return what a failure says of the rungs before it; nothing where there were none."""
    with workspace.database.read() as connection:
        names = [str(told["operation"]) for told in tried(connection, work.lead)]
    return f" (tried before: {', '.join(names)})" if names else ""


def rung_mark(rung: int) -> str:
    """Return what a rung adds to the keys of its jobs; nothing for the first."""
    return f"-rung{rung}" if rung else ""


def climb(workspace: Workspace, work: Work, step: str, error: AmendsError) -> bool:
    """Begin again on the next rung, if what failed was this rung and there is another; say whether there is.

    Only an operation that refuses, or a policy that denies what it made, is a rung's failure; a worker that died is
    not, nor an approval that does not count any more. What is exact and denied all the same would be denied after any
    other exact operation, too.
    """
    is_rungs = (step == "judge" and isinstance(error, Denied)) or (step == "rebuild" and isinstance(error, Refused))
    if not is_rungs:
        return False
    with workspace.database.read() as connection:
        done = journal.steps_of(connection, work.lead)
        is_approved = not any(approvals.missing(connection, case) for case in work.cases)
    if not is_approved or done.get("compare", {}).get("guarantee", Guarantee.APPROXIMATE) != Guarantee.APPROXIMATE:
        return False
    with workspace.database.read() as connection:
        number, kind = len(tried(connection, work.lead)), batches.kind_of(connection, work)
    ladder = ladder_of(workspace, work)
    if kind != "erasure" or number + 1 >= len(ladder):
        return False
    drop_products(workspace, work.lead, RUNG)
    told = _told(done, ladder[number], str(error), f"{work.lead}-erasure-{work.attempt}" if step == "judge" else "")
    with workspace.database.transaction() as connection:
        journal.forget_steps(connection, work.lead)
        for name, result in done.items():
            if name not in RUNG:
                journal.record_step(connection, work.lead, name, result)
        journal.record_step(connection, work.lead, f"{TRIED}:{number}", told)
        begun = batches.begin(workspace, connection, kind, work.model, work.cases)
        body = {"tried": told["operation"], "next": ladder[number + 1], "decision": told["decision"]}
        workspace.record(connection, f"{work.lead}:climbed:{begun.attempt}", Action.CASE_CLIMBED, body)
    return True


def _told(done: Mapping[str, Result], operation: str, reason: str, decision: str) -> dict[str, Any]:
    measured = done.get("measure", {})
    return {
        "operation": done.get("rebuild", {}).get("operation", operation),
        "guarantee": done.get("compare", {}).get("guarantee", ""),
        "reason": reason,
        "decision": decision,
        "seconds": done.get("rebuild", {}).get("seconds", 0.0),
        "before": measured.get("before", []),
        "after": measured.get("after", []),
    }
