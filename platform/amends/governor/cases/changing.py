"""Open a change that is no erasure: planned, approved and carried out like one, and judged by a policy of its own."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from amends.errors import BadInput, Denied
from amends.governor.cases.planning import give_plan
from amends.governor.cases.proposing import champion_of, choose_operation, dataset_of, plan_change
from amends.governor.data.rows import rows_of
from amends.governor.judging import find_policy
from amends.governor.models.recipes import read_recipe
from amends.governor.work.carrying import carry
from amends.governor.work.replaying import first_touched
from amends.governor.workspace import Workspace
from amends.ledger import cases, journal
from amends.ledger.actions import Action
from amends.policy import GIVEN
from amends.records import Case, CaseStatus, DataSubject, ModelVersion

ROLES = ("ml-engineer", "safety-engineer", "operator")
NOT_CHANGES = ("erasure", "finding", "promotion", "training", "regimes")
Plan = dict[str, Any]
Facts = Mapping[str, bool | int | float | str]


def open_change(
    workspace: Workspace,
    *,
    model: str,
    policy: str,
    records: Mapping[str, str],
    operation: str = "",
    parameters: Mapping[str, Any] | None = None,
    seed: int = 0,
    facts: Facts | None = None,
    judging: Mapping[str, str] | None = None,
    models: Mapping[str, str] | None = None,
) -> Case:
    """Open a durable case for a change of a model's champion; where its policy asks for no approval, carry it out.

    An operation that makes a new model needs no champion: then the case makes the model's first version.

    Args:
        workspace: Where the model is.
        model: The model's name.
        policy: What judges it, such as `editing`; also the kind of the case.
        records: A registered data set, by name or digest, for each of the operation's records.
        operation: What to run; empty takes the first of the policy's that the champion allows, or searches among the
            candidates of a policy that has some.
        parameters: Its scalar parameters.
        seed: The only source of randomness.
        facts: What is known of the change beside its readings, by names that policies may read: `contradictions`.
        judging: Registered data sets that the probes are given in place of those of the same names: what a candidate
            was made or searched with does not judge it.
        models: A version, such as `teacher@champion`, for each of the operation's models; they become parents of what
            is made, and probes that ask for versions of these names are given them. The first of them is what the
            probes compare with where the operation makes a new model.

    Raises:
        BadInput: Something given cannot be used.
        Denied: No operation can change this version.
        TaskFailed: It was carried out at once, and failed.
    """
    asked = {
        "records": dict(records), "operation": operation, "parameters": dict(parameters or {}), "seed": seed,
        "facts": _checked(facts or {}), "judging": dict(judging or {}),
        "models": dict(models or {}),
    }  # fmt: skip
    return _open(workspace, model, policy, asked)


def operation_for(workspace: Workspace, *, model: str, policy: str) -> str:
    """Return the operation that a change of a model's champion would run where nobody names one.

    Raises:
        Denied: None of the policy's can change this version.
    """
    return choose_operation(workspace, champion_of(workspace, model), find_policy(workspace, policy), "").name


def drop_records(
    workspace: Workspace, model: str, dataset: str, ids: Iterable[str], *, policy: str = "", facts: Facts | None = None
) -> Case:
    """Open a case that rebuilds a model's champion without some records of one of its changes.

    Args:
        workspace: Where the model is.
        model: The model's name.
        dataset: The data set, by name or digest, as the champion's recipe names it.
        ids: The records' ids or labels.
        policy: What judges it; empty takes the policy of the change that the records belong to.
        facts: See `open_change`.

    Raises:
        BadInput: The champion never had them, or its operation cannot do without some.
        Denied: The version from before they went in was purged.
    """
    workspace.require_role(*ROLES)
    parent = champion_of(workspace, model)
    digest = dataset_of(workspace, parent, dataset)
    chosen = _records_of(workspace, digest, set(ids))
    asked = {"dropped": {"dataset": digest, "ids": chosen}, "facts": _checked(facts or {})}
    return _open(workspace, model, policy or _policy_of(workspace, parent, digest), asked)


def replan_change(workspace: Workspace, id: str) -> Case:
    """Plan a change again, for the champion and the data as they are now; earlier approvals are void.

    Raises:
        Denied: Facts were stated of it, for another champion or another teacher than there is now.
    """
    with workspace.database.read() as connection:
        case, asked = cases.get(connection, id), cases.detail(connection, id)["asked"]
    plan = plan_change(workspace, case.model, find_policy(workspace, case.kind), asked)
    stood = case.plan or {}
    if plan["facts"] and any(plan.get(part) != stood.get(part) for part in ("parent", "models")):
        beside = f" or another {' or '.join(plan['models'])}" if plan.get("models") else ""
        raise Denied(
            f"what was said of case {id} when it was opened was said for another champion of {case.model}{beside}; "
            "cancel it, and ask for the change anew"
        )
    with workspace.database.transaction() as connection:
        return give_plan(workspace, connection, id, plan)


def _open(workspace: Workspace, model: str, policy: str, asked: Mapping[str, Any]) -> Case:
    actor = workspace.require_role(*ROLES)
    if policy in NOT_CHANGES:
        raise BadInput(f"{policy!r} judges no change of this kind; name a policy such as editing")
    judging = find_policy(workspace, policy)
    plan = plan_change(workspace, model, judging, asked)
    id, now = f"c-{secrets.token_hex(5)}", datetime.now(UTC)
    case = Case(
        id=id, kind=policy, model=model, subject=DataSubject("s_nobody"), status=CaseStatus.LOCATING,
        requester=actor.id, regime="", received_at=now, due_at=now,
    )  # fmt: skip
    with workspace.database.transaction() as connection:
        cases.open_case(connection, case, quorum=judging.approvals.count, detail={"asked": dict(asked)})
        digest = cases.set_plan(connection, id, plan)
        body = {"model": model, "policy": policy, "plan": digest}
        workspace.record(connection, f"{id}:opened", Action.CHANGE_OPENED, body)
        opened = cases.set_status(connection, id, CaseStatus.AWAITING_APPROVAL)
    return opened if judging.approvals.count else carry(workspace, id)


def _checked(facts: Facts) -> dict[str, bool | int | float | str]:
    """Return facts that may be stated from outside; no caller speaks for the governor.

    Raises:
        BadInput: One is unknown, or not of its type.
    """
    for name, value in facts.items():
        if name not in GIVEN:
            raise BadInput(f"no fact {name!r} can be stated of a change; there are {', '.join(GIVEN)}")
        if type(value) is not GIVEN[name]:
            raise BadInput(f"the fact {name!r} must be of type {GIVEN[name].__name__}, not {type(value).__name__}")
    return dict(facts)


def _records_of(workspace: Workspace, digest: str, wanted: set[str]) -> list[str]:
    found = [row for row in rows_of(workspace, digest) if {row["id"], row.get("label")} & wanted]
    named = {name for row in found for name in (row["id"], row.get("label"))}
    if not wanted or wanted - named:
        raise BadInput(f"{len(wanted - named)} of the {len(wanted)} records named are not in that data set; check ids")
    return sorted(str(row["id"]) for row in found)


def _policy_of(workspace: Workspace, version: ModelVersion, digest: str) -> str:
    """Return the policy that judged the newest change by the operation that read a data set."""
    steps = read_recipe(workspace, version.digest)["steps"]
    operation = steps[first_touched(steps, {digest})]["operation"]
    with workspace.database.read() as connection:
        ended = cases.find(connection, model=version.name, status=CaseStatus.COMPLETE, limit=None)
        for case in reversed(ended):
            plan = cases.get(connection, case.id).plan or {}
            done = journal.step_result(connection, case.id, "apply") or {}
            if plan.get("kind") == "change" and operation in (plan["operation"], done.get("operation")):
                return str(plan["policy"])
    raise BadInput(f"no change of {version.name} by {operation} is known here; name the policy that is to judge")
