"""Open and plan a case for each model that descends from the one a request is about.

Each has a plan, a journal, a key and a certificate of its own, and waits for those it descends from; the request's own
plan names the digest of every such plan, so that whoever approves it approves them.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from amends.errors import Denied
from amends.governor.cases.costing import priced
from amends.governor.cases.descending import Descent, Way, descents, way_of
from amends.governor.cases.planning import QUORUM, RETIRING, STEPS, estimate_of, give_plan, held_by, rollback_of
from amends.governor.judging import find_policy
from amends.governor.subjects.disclosing import disclosure_of, seal
from amends.governor.subjects.locating import Located, Reach, learnt_from, locate, reach, reach_of
from amends.governor.workspace import Workspace
from amends.ledger import cases, lineage
from amends.ledger.actions import Action
from amends.policy import Descendants
from amends.records import Case, CaseStatus, Guarantee, digest_of, weakest

if TYPE_CHECKING:
    from sqlalchemy import Connection

SHARED = (
    "schema", "kind", "subject", "ground", "identity", "records", "searched", "reviewed", "approvals", "policies",
    "purge_after_days", "retention_days",
)  # fmt: skip
"""What a plan has from that of the request: who goes, why, and where they were found."""

ENDED = (CaseStatus.CANCELLED, CaseStatus.REFUSED, CaseStatus.DENIED, CaseStatus.COMPLETE, CaseStatus.NEGATIVE)
PLANNED_ANEW = (CaseStatus.LOCATING, CaseStatus.AWAITING_APPROVAL, CaseStatus.FAILED)
Plan = Mapping[str, Any]


@dataclass(frozen=True)
class Branch:
    """A case for a model that descends from another, with its plan; not written yet."""

    case: Case
    plan: Plan

    @property
    def told(self) -> dict[str, Any]:
        """What the plan of the request says of it."""
        names = ("model", "how", "because", "operation", "guarantee")
        versions = self.plan["holds"]["versions"]
        beside = {"case": self.case.id, "parent": self.case.parent, "plan": digest_of(self.plan), "versions": versions}
        return {**beside, **{name: self.plan[name] for name in names}}


def draft(workspace: Workspace, root: Case, plan: Plan, located: Located, reached: Reach) -> list[Branch]:
    """Return the cases that a request needs besides itself, each after those that it waits for.

    A model that has an open case of this request keeps it.

    Args:
        workspace: Where the models are.
        root: The request.
        plan: Its plan, as far as it goes without these.
        located: Where the subject is.
        reached: What holds them.
    """
    policy = find_policy(workspace, "erasure")
    held = learnt_from(workspace, located, plan["reviewed"])
    with workspace.database.read() as connection:
        holding = [version for version in lineage.tainted_by(connection, held) if version.status != "purged"]
        lines = descents(connection, root.model, holding)
        known = {case.model: case for case in cases.family(connection, root.id)[1:] if case.status not in ENDED}
    found: dict[str, Branch] = {}
    for descent in lines:
        retired = [model for model, branch in found.items() if branch.plan["how"] == Descendants.RETIRE]
        way = way_of(workspace, policy, descent, held, [version.digest for version in holding], retired)
        above = {root.model: Branch(root, plan), **found}
        case = known.get(descent.model) or _new(root, descent.model, above[descent.after[-1]].case.id)
        said = _plan(workspace, case, descent, way, [above[model] for model in descent.after], located, reached)
        found[descent.model] = Branch(case, {**{name: plan[name] for name in SHARED}, **said})
    return list(found.values())


def _new(root: Case, model: str, parent: str) -> Case:
    blank = replace(root, plan=None, plan_digest=None, outcome=None, reason=None)
    return replace(blank, id=f"e-{secrets.token_hex(5)}", model=model, status=CaseStatus.LOCATING, parent=parent)


def _plan(
    workspace: Workspace, case: Case, descent: Descent, way: Way, above: Sequence[Branch], located: Located,
    reached: Reach,
) -> dict[str, Any]:  # fmt: skip
    own = reach_of(workspace, descent.versions, reached.stores)
    rebuilt, policy = way.target is not None, find_policy(workspace, "erasure")
    target = way.target or descent.versions[-1].name
    promised = [Guarantee(str(one.plan["guarantee"])) for one in above if one.plan["guarantee"]]
    ladder = [(name, weakest([guarantee, *promised])) for name, guarantee in way.ladder]
    return {
        "model": case.model,
        "parent": case.parent,
        "after": [one.case.id for one in above],
        "how": str(way.how),
        "because": way.because,
        "operation": ladder[0][0] if rebuilt else "",
        "guarantee": str(ladder[0][1]) if rebuilt else "",
        "ladder": priced(workspace, policy, case.id, target.digest, ladder, located.records) if rebuilt else [],
        "steps": dict(STEPS if rebuilt else RETIRING),
        "holds": held_by(located, own),
        "parent_when_planned": str(target),
        "rollback": rollback_of(workspace, case.model, own),
        "estimate": estimate_of(workspace, target.digest, own, ladder if rebuilt else []),
        "descendants": [],
    }


def write(workspace: Workspace, connection: Connection, root: Case, branches: Sequence[Branch]) -> None:
    """Open what is new, give each its plan, and drop what is not needed any more.

    The subject's identifiers are encrypted anew under a key of each case.
    """
    beside = {name: cases.detail(connection, root.id)[name] for name in ("deadline", "ground", "identity")}
    kept = {branch.case.id for branch in branches}
    for case in cases.family(connection, root.id)[1:]:
        if case.id not in kept and case.status in (CaseStatus.LOCATING, CaseStatus.AWAITING_APPROVAL):
            reason = "the model no longer holds the person, or another case sees to it"
            cases.set_status(connection, case.id, CaseStatus.CANCELLED, outcome="refused", reason=reason)
            workspace.record(connection, f"{case.id}:cancelled", Action.CASE_CANCELLED, {})
    for branch in branches:
        if branch.case.status == CaseStatus.LOCATING:
            _open(workspace, connection, root, branch.case, beside)
        cases.set_subject(connection, branch.case.id, cases.get(connection, root.id).subject.pseudonym)
        plan_branch(workspace, connection, branch)


def _open(workspace: Workspace, connection: Connection, root: Case, case: Case, beside: Mapping[str, Any]) -> None:
    subject = cases.get(connection, root.id).subject  # who was found, whatever the case said when it was read
    lent = disclosure_of(workspace, root.id)
    sealed = seal(workspace, case.id, subject, {kind: tuple(some) for kind, some in lent.identifiers.items()})
    opened = replace(case, subject=subject)
    cases.open_case(connection, opened, quorum=QUORUM, ciphertext=sealed, detail=beside)
    body = {"model": case.model, "parent": case.parent, "due_at": case.due_at.isoformat()}
    workspace.record(connection, f"{case.id}:opened", Action.ERASURE_OPENED, body, case.requester)


def plan_branch(workspace: Workspace, connection: Connection, branch: Branch) -> Case:
    """Give a case its plan, unless it is being carried out."""
    found = cases.get(connection, branch.case.id)
    return give_plan(workspace, connection, found.id, branch.plan) if found.status in PLANNED_ANEW else found


def replan_branch(workspace: Workspace, id: str) -> Case:
    """Plan a case that another one opened anew, for the model and the policy as they are now.

    Raises:
        Denied: Its model no longer holds the person, so that there is nothing to plan.
    """
    with workspace.database.read() as connection:
        root = cases.family(connection, id)[0]
    branches = {branch.case.id: branch for branch in redraft(workspace, root)}
    if id not in branches:
        raise Denied(f"the model of case {id} no longer holds the person; cancel it with `amends cases cancel {id}`")
    with workspace.database.transaction() as connection:
        return plan_branch(workspace, connection, branches[id])


def redraft(workspace: Workspace, root: Case) -> list[Branch]:
    """Return the cases that a request needs besides itself as things stand now."""
    disclosure = disclosure_of(workspace, root.id)
    located = locate(workspace, disclosure)
    return draft(workspace, root, root.plan or {}, located, reach(workspace, located, disclosure))


def reopen_below(workspace: Workspace, id: str) -> bool:
    """Open a case for each model that still holds the person and has none: its own ended, or it was made since.

    They are approved by themselves: what was decided on the request's plan was decided on other cases.

    Returns:
        Whether any model below holds the person.
    """
    with workspace.database.read() as connection:
        root = cases.family(connection, id)[0]
    branches = redraft(workspace, root)
    with workspace.database.transaction() as connection:
        write(workspace, connection, root, branches)
    return bool(branches)
