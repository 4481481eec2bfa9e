"""Open a promotion or a rollback: planned, approved and carried out like any case, and judged by `promotion.yaml`."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any

from amends.errors import BadInput, Denied, UnknownModel
from amends.governor.cases.planning import give_plan
from amends.governor.judging import find_policy
from amends.governor.models.promoting import CHAMPION
from amends.governor.models.quarantine import refuse_quarantined
from amends.governor.work.carrying import carry
from amends.governor.workspace import Workspace
from amends.ledger import aliases, cases, lineage
from amends.ledger.actions import Action
from amends.ledger.lineage import Version
from amends.records import Case, CaseStatus, DataSubject

KIND = "promotion"
ROLES = ("ml-engineer", "safety-engineer", "operator")
STEPS = (
    "make sure that the alias stands where this plan saw it, that every file is the one that was signed, and that "
    "nobody was erased since from what the version learnt from",
    "gather what was read on the version; read again what is too old or absent",
    "let the promotion policy judge, and move the alias where it allows",
)
Plan = dict[str, Any]


def open_promotion(workspace: Workspace, reference: str, alias: str = CHAMPION, reason: str = "") -> Case:
    """Open a durable case that moves an alias to a version; where nobody has to approve, carry it out.

    Args:
        workspace: Where the model is.
        reference: `model@number`, or `model@alias` for what stands there now.
        alias: The alias to move.
        reason: Why, for those who approve and for the alias's history.

    Raises:
        UnknownModel: There is no such version.
        Denied: The version is sealed or purged, or the alias stands there already.
        TaskFailed: It was carried out at once, and failed.
    """
    aliases.check_name(alias)
    with workspace.database.read() as connection:
        version = aliases.resolve_version(connection, reference)
    return _open(workspace, version, {"alias": alias, "reason": reason, "rollback": False})


def open_rollback(workspace: Workspace, model: str, *, reason: str, to: int | None = None, alias: str = "") -> Case:
    """Open a case that moves an alias back to where it stood; it is judged like any promotion.

    Args:
        workspace: Where the model is.
        model: The model's name.
        reason: Why; it is needed.
        to: A version that the alias stood for; by default the one before its last move.
        alias: The alias; `champion` unless told.

    Raises:
        BadInput: The alias never stood there, or no reason is given.
        UnknownModel: There is no such model.
        Denied: That version is sealed or purged.
    """
    alias = alias or CHAMPION
    if not reason.strip():
        raise BadInput("a rollback needs its reason; give --reason")
    aliases.check_name(alias)
    with workspace.database.read() as connection:
        if model not in lineage.models(connection):
            raise UnknownModel(f"there is no model {model!r}; see `amends models list`")
        past = aliases.history(connection, model, alias)
        stood = [move.new_number for move in past if move.new_number != aliases.NOTHING]
        target = to if to is not None else past[-1].old_number if past else None
        if target is None or target not in stood:
            known = ", ".join(str(number) for number in dict.fromkeys(stood[:-1]))
            way_out = f"it stood for {known}" if known else "there is nothing to go back to"
            raise BadInput(f"{model}@{alias} never stood for {_named(target)} before; {way_out}")
        version = lineage.get(connection, model, target)
    return _open(workspace, version, {"alias": alias, "reason": reason, "rollback": True})


def replan_promotion(workspace: Workspace, id: str) -> Case:
    """Plan a promotion again, from where the alias stands now; approvals of another plan are void."""
    with workspace.database.read() as connection:
        case, asked = cases.get(connection, id), cases.detail(connection, id)["asked"]
        version = lineage.get(connection, case.model, int(asked["version"]))
    plan = _plan(workspace, version, asked)
    with workspace.database.transaction() as connection:
        return give_plan(workspace, connection, id, plan)


def _open(workspace: Workspace, version: Version, asked: Plan) -> Case:
    actor = workspace.require_role(*ROLES)
    plan = _plan(workspace, version, asked)
    id, now = f"m-{secrets.token_hex(5)}", datetime.now(UTC)
    case = Case(
        id=id, kind=KIND, model=version.model, subject=DataSubject("s_nobody"), status=CaseStatus.LOCATING,
        requester=actor.id, regime="", received_at=now, due_at=now,
    )  # fmt: skip
    quorum = int(plan["approvals"]["count"])
    with workspace.database.transaction() as connection:
        cases.open_case(connection, case, quorum=quorum, detail={"asked": {**asked, "version": version.number}})
        digest = cases.set_plan(connection, id, plan)
        body = {"model": version.model, "version": version.number, "alias": asked["alias"], "plan": digest}
        workspace.record(connection, f"{id}:opened", Action.PROMOTION_OPENED, body)
        opened = cases.set_status(connection, id, CaseStatus.AWAITING_APPROVAL)
    return opened if quorum else carry(workspace, id)


def _plan(workspace: Workspace, version: Version, asked: Plan) -> Plan:
    alias, policy = str(asked["alias"]), find_policy(workspace, KIND)
    with workspace.database.read() as connection:
        here = aliases.current(connection, version.model, alias)
    if version.status != "active":
        raise Denied(f"{version.name} is {version.status} and cannot be {alias}; choose another version")
    refuse_quarantined(workspace, version)
    if here == version.number:
        raise Denied(f"{version.model}@{alias} stands for version {here} already; nothing is to be moved")
    quorum = policy.quorum_of(alias, is_first=here is None)
    return {
        **{"schema": 1, "kind": KIND, "policy": KIND, "model": version.model},
        "candidate": {"version": version.number, "digest": version.digest},
        "alias": {"name": alias, "from": here},
        **{"reason": asked["reason"], "rollback": asked["rollback"]},
        "approvals": {"count": quorum.count, "roles": list(quorum.roles)},
        "policies": {KIND: policy.digest},
        "steps": list(STEPS),
    }


def _named(number: int | None) -> str:
    return "another version" if number is None else f"version {number}"
