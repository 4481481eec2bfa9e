"""Answer "why not?" of a case in sentences: what it waits for, where it stopped, and what each policy said."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from amends.errors import BadInput, UnknownCase
from amends.governor import listing
from amends.governor.workspace import Workspace
from amends.ledger import approvals, cases, decisions, people
from amends.policy import explain
from amends.records import Case, CaseStatus

STOPPED = (CaseStatus.FAILED, CaseStatus.DENIED, CaseStatus.REFUSED, CaseStatus.CANCELLED)


def explain_either(workspace: Workspace, id: str) -> dict[str, Any]:
    """Explain a case, or a decision, by its id.

    Raises:
        BadInput: There is neither of that id.
    """
    with suppress(UnknownCase):
        return explain_case(workspace, id)
    try:
        return listing.verdict(workspace, id)
    except BadInput:
        raise BadInput(
            f"there is neither a case nor a decision {id!r}; see `amends cases list` and `amends policy decisions`"
        ) from None


def explain_case(workspace: Workspace, id: str) -> dict[str, Any]:
    """Say where a case stands and why it is not done, its newest decisions included.

    Raises:
        UnknownCase: There is none of that id.
    """
    with workspace.database.read() as connection:
        case, beside = cases.get(connection, id), cases.detail(connection, id)
        found = decisions.find(connection, str(beside.get("lead", id)))
    newest = {decision.policy: decision for decision in found}
    said = [f"Case {id} ({case.kind} of {case.model}) is {case.status}."]
    said += _waiting(workspace, case)
    if case.status in STOPPED and case.reason:
        said.append(f"It stopped in step {beside['failed']!r}: {case.reason}" if beside.get("failed") else case.reason)
    elif case.reason:
        said.append(case.reason)
    for decision in newest.values():
        said += [f"Decision {decision.id}, {decision.at:%Y-%m-%d %H:%M} UTC:", *explain(decision.verdict)]
    return {
        **{"case": id, "status": str(case.status), "reason": case.reason},
        "decisions": [decision.id for decision in newest.values()],
        "explanation": said,
    }


def _waiting(workspace: Workspace, case: Case) -> Iterator[str]:
    """Yield who has approved, and who still has to."""
    if case.status != CaseStatus.AWAITING_APPROVAL:
        return
    with workspace.database.read() as connection:
        missing = approvals.missing(connection, case.id)
        given = [known for known in approvals.standing(connection, case.id) if known.decision == "approve"]
        names = {person.id: person for person in people.everyone(connection, removed=True)}
    for known in given:
        person = names[known.person]
        gone = "" if person.removed_at is None else ", and was removed since, so that this does not count"
        yield f"{person.name} ({known.role}) approved{gone}."
    if missing:
        roles = ", ".join((case.plan or {}).get("approvals", {}).get("roles", ())) or "anybody who may approve"
        asked = names[case.requester].name if case.requester in names else case.requester
        more = "1 more person" if missing == 1 else f"{missing} more people"
        yield f"{more} must approve its plan ({roles}; not {asked}, who asked)."
    else:
        yield "Everybody has approved; `amends work` carries it out."
