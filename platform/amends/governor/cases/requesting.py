"""Open a request: the clock starts, the subject is located, a plan is made, or a finding says there is nobody."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from amends.errors import BadInput, UnknownModel
from amends.governor.cases.branching import draft, replan_branch, write
from amends.governor.cases.planning import GROUNDS, QUORUM, give_plan, make_plan
from amends.governor.models.promoting import champion, standing
from amends.governor.proof.evidence import Asked
from amends.governor.proof.negatives import attest_negative, is_attested
from amends.governor.subjects.disclosing import disclosure_of, seal
from amends.governor.subjects.locating import Located, locate, reach
from amends.governor.work.inquiring import ask, forget_questions
from amends.governor.workspace import Workspace
from amends.ledger import cases, datasets, reviews
from amends.ledger.actions import Action
from amends.policy import deadline, find_regime
from amends.records import Case, CaseStatus, DataSubject, Disclosure, digest_of

ROLES = ("requester", "operator", "dpo")


@dataclass(frozen=True, repr=False)
class Request:
    """What an erasure request says; the identifiers never leave memory in clear.

    Args:
        model: The model's name.
        identifiers: The subject's, by kind: name, email, phone.
        received_at: When it came, timezone-aware.
        regime: `gdpr` or `ccpa`.
        jurisdiction: Whose holidays count, such as `DE`.
        ground: One of the articles in `planning.GROUNDS`.
        identity: How staff checked who asks; empty means that two agreeing identifiers have to do.
    """

    model: str
    identifiers: Mapping[str, tuple[str, ...]]
    received_at: datetime
    regime: str = "gdpr"
    jurisdiction: str = ""
    ground: str = "17(1)(b)"
    identity: str = ""


def open_erasure(workspace: Workspace, request: Request) -> Case:
    """Open a durable case, locate the subject and plan; returns the case as it then stands.

    Raises:
        BadInput: The request lacks something.
    """
    actor = workspace.require_role(*ROLES)
    _check(request)
    _check_model(workspace, request)
    regime = find_regime(request.regime, workspace.home)
    due = deadline(regime, request.received_at, request.jurisdiction or workspace.settings.jurisdiction or None)
    id = f"e-{secrets.token_hex(5)}"
    unknown = DataSubject("s_unlocated")
    case = Case(
        id=id, kind="erasure", model=request.model, subject=unknown, status=CaseStatus.LOCATING,
        requester=actor.id, regime=request.regime, received_at=request.received_at, due_at=due.due_at,
    )  # fmt: skip
    sealed = seal(workspace, id, unknown, dict(request.identifiers))
    beside = {"deadline": due.as_json(), "ground": request.ground, "identity": request.identity}
    body = {"model": request.model, "regime": due.rule, "received_at": request.received_at.isoformat()}
    with workspace.database.transaction() as connection:
        cases.open_case(connection, case, quorum=QUORUM, ciphertext=sealed, detail=beside)
        workspace.record(connection, f"{id}:opened", Action.ERASURE_OPENED, body | {"due_at": due.due_at.isoformat()})
    return plan_case(workspace, id)


def _check(request: Request) -> None:
    if not any(value.strip() for values in request.identifiers.values() for value in values):
        raise BadInput("the request names nobody; give a name, an e-mail address or a phone number")
    if request.ground not in GROUNDS:
        raise BadInput(f"{request.ground!r} is no ground; there are {', '.join(GROUNDS)}")
    if request.received_at.tzinfo is None:
        raise BadInput("received-at needs a time zone, such as 2026-01-31T09:00:00+01:00")
    if request.received_at > datetime.now(UTC):
        raise BadInput("received-at lies in the future; give the time at which the request came")


def _check_model(workspace: Workspace, request: Request) -> None:
    """Refuse a model that there is nothing of; one that was only imported can be asked, but not erased from.

    Raises:
        UnknownModel: It has no champion, and no version either, or records name the person.
    """
    if champion(workspace, request.model) is not None:
        return
    way_out = "see `amends models list`, or train and promote it"
    if standing(workspace, request.model) is None:
        raise UnknownModel(f"{request.model!r} has no champion; {way_out}")
    if locate(workspace, Disclosure(DataSubject("s_unlocated"), request.identifiers)).records:
        raise UnknownModel(f"records name this person, and {request.model!r} has no champion to erase from; {way_out}")


def plan_case(workspace: Workspace, id: str) -> Case:
    """Locate a case's subject and bring it to where somebody has to act, or to a negative finding.

    A case that another one opened is planned anew for what that one found; the plan of the other stays.
    """
    with workspace.database.read() as connection:
        is_branch = cases.get(connection, id).parent is not None
    if is_branch:
        return replan_branch(workspace, id)
    forget_questions(workspace, id)
    disclosure = disclosure_of(workspace, id)
    located = locate(workspace, disclosure)
    if located.is_empty:
        return _negative(workspace, id, located)
    subject = DataSubject(located.pseudonyms[0] if len(located.pseudonyms) == 1 else "s_unlisted")
    with workspace.database.transaction() as connection:
        cases.set_subject(connection, id, subject.pseudonym)
        reviews.add_near_misses(connection, id, located.near)
        found = {"records": sum(map(len, located.records.values())), "near": len(located.near)}
        key = f"{id}:located:{digest_of([found, workspace.actor.id])[:16]}"
        workspace.record(connection, key, Action.CASE_LOCATED, found)
        open_marks = reviews.near_misses_of(connection, id, unmarked=True)
        if open_marks:
            return cases.set_status(connection, id, CaseStatus.AWAITING_REVIEW)
        marks = {miss.mark for miss in reviews.near_misses_of(connection, id)}
    return _plan(workspace, id, located) if located.records or marks - {"keep"} else _negative(workspace, id, located)


def _negative(workspace: Workspace, id: str, located: Located) -> Case:
    """Close a case that found nobody, if the model shows no sign of knowing them; else leave it to a person.

    What the index still knows is of records that went with somebody else's.
    """
    asked = None
    if not is_attested(workspace, id):
        with workspace.database.transaction() as connection:
            cases.set_status(connection, id, CaseStatus.LOCATING)
        asked = ask(workspace, id)
        if not asked.is_allowed:
            return _unsigned(workspace, id, asked)
    with workspace.database.transaction() as connection:
        write(workspace, connection, cases.get(connection, id), [])  # what it had opened is not needed
        for pseudonym in located.pseudonyms:
            datasets.remove_subject(connection, pseudonym)
    return attest_negative(workspace, id, asked)


def _unsigned(workspace: Workspace, id: str, asked: Asked) -> Case:
    """Leave a case to a person, with what keeps the finding from being signed."""
    denied = "; ".join(asked.verdict.reasons()) if asked.verdict else ""
    why = f"the model could not be asked: {asked.why_not}" if asked.why_not else denied
    with workspace.database.transaction() as connection:
        reason = f"no record names this person, and yet no finding is signed: {why}"
        return cases.set_status(connection, id, CaseStatus.AWAITING_REVIEW, reason=reason)


def _plan(workspace: Workspace, id: str, located: Located) -> Case:
    with workspace.database.read() as connection:
        case, beside = cases.get(connection, id), cases.detail(connection, id)
        marks = {
            miss.record_id: {"mark": str(miss.mark), "dataset": miss.dataset}  # the reason may name somebody
            for miss in reviews.near_misses_of(connection, id)
        }
    reached = reach(workspace, located, disclosure_of(workspace, id))
    plan = make_plan(
        workspace, case, located, reached, marks,
        ground=beside["ground"], identity=identity_of(located, beside["identity"]),
    )  # fmt: skip
    below = draft(workspace, case, plan, located, reached)
    plan = {**plan, "descendants": [one.told for one in below]}
    with workspace.database.transaction() as connection:
        write(workspace, connection, case, below)
        return give_plan(workspace, connection, id, plan)


def identity_of(located: Located, checked: str) -> dict[str, Any]:
    """Return how it was checked that the request is the subject's own; approvers see it before they decide."""
    if checked:
        return {"checked": True, "how": f"by staff: {checked}", "agreeing_identifiers": located.agreeing}
    if located.agreeing >= 2:
        return {"checked": True, "how": "two identifiers agree", "agreeing_identifiers": located.agreeing}
    return {"checked": False, "how": "one identifier only; approvers vouch", "agreeing_identifiers": located.agreeing}
