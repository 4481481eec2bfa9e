"""Open a change that is no erasure: planned, approved and carried out like one, and judged by a policy of its own."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from amends.errors import BadInput, Denied, UnknownModel
from amends.governor.cases.planning import attached
from amends.governor.cases.searching import searched
from amends.governor.data.rows import rows_of
from amends.governor.judging import find_policy
from amends.governor.models.importing import check_model_name
from amends.governor.models.promoting import standing
from amends.governor.models.quarantine import refuse_quarantined
from amends.governor.models.recipes import read_recipe
from amends.governor.work.carrying import carry
from amends.governor.work.changing import place_before
from amends.governor.work.piece import beside
from amends.governor.work.replaying import first_touched, rebuilds_itself
from amends.governor.workspace import Workspace
from amends.ledger import aliases, cases, datasets, journal, lineage
from amends.ledger.actions import Action
from amends.policy import GIVEN, Policy
from amends.records import Case, CaseStatus, DataSubject, ModelVersion, Records
from amends.scheduler.checks import check_beside
from amends.store.trees import fetch_manifest

if TYPE_CHECKING:
    from amends.operation import Operation

ROLES = ("ml-engineer", "safety-engineer", "operator")
NOT_CHANGES = ("erasure", "finding", "promotion", "training", "regimes")
STEPS = (
    "make sure that the champion and the records are what this plan saw, and that nobody erased is in them",
    "run the operation on the champion",
    "read the policy's probes on the model before and after",
    "let the policy judge; the champion stays where it denies",
    "register the new version",
    "move the alias, as the promotion policy allows",
)
SEARCHING = "try the candidates on the champion, read what they cost, and take the best that stays within the budget"
MAKING = "run the operation, which makes a new model"
DROPPING = "run the recipe again without the dropped records, from the version before they went in"
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
    return _choose(workspace, _champion(workspace, model), find_policy(workspace, policy), "").name


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
    parent = _champion(workspace, model)
    digest = _dataset_of(workspace, parent, dataset)
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
    plan = _plan(workspace, case.model, find_policy(workspace, case.kind), asked)
    stood = case.plan or {}
    if plan["facts"] and any(plan.get(part) != stood.get(part) for part in ("parent", "models")):
        beside = f" or another {' or '.join(plan['models'])}" if plan.get("models") else ""
        raise Denied(
            f"what was said of case {id} when it was opened was said for another champion of {case.model}{beside}; "
            "cancel it, and ask for the change anew"
        )
    with workspace.database.transaction() as connection:
        digest = cases.set_plan(connection, id, plan)
        key = f"{id}:planned:{digest[:16]}:{workspace.actor.id}"
        workspace.record(connection, key, Action.CASE_PLANNED, {"plan": digest})
        return cases.set_status(connection, id, CaseStatus.AWAITING_APPROVAL)


def _open(workspace: Workspace, model: str, policy: str, asked: Mapping[str, Any]) -> Case:
    actor = workspace.require_role(*ROLES)
    if policy in NOT_CHANGES:
        raise BadInput(f"{policy!r} judges no change of this kind; name a policy such as editing")
    judging = find_policy(workspace, policy)
    plan = _plan(workspace, model, judging, asked)
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


def _began(workspace: Workspace, model: str, asked: Mapping[str, Any]) -> ModelVersion | None:
    """Return what a change begins from; None where it makes the first version of a new model."""
    found = standing(workspace, model)
    name = str(asked.get("operation", ""))
    if found is None and name and not workspace.host.operation(name).needs_source:
        check_model_name(model)
        return None
    return _champion(workspace, model)


def _champion(workspace: Workspace, model: str) -> ModelVersion:
    """Return what a change begins from: the champion, or the newest version of a model that was only imported."""
    found = standing(workspace, model)
    if found is None:
        raise UnknownModel(f"there is no model {model!r} with an active version; see `amends models list`")
    with workspace.database.read() as connection:
        refuse_quarantined(lineage.get(connection, found.name, found.version))
    return found


def _plan(workspace: Workspace, model: str, policy: Policy, asked: Mapping[str, Any]) -> Plan:
    parent = _began(workspace, model, asked)
    if parent is not None and "dropped" in asked:
        what = _dropping(workspace, parent, asked)
    else:
        what = _applying(workspace, parent, policy, asked)
    counts = {name: _count(workspace, digest) for name, digest in what["records"].items()}
    quorum, promotion = policy.approvals, find_policy(workspace, "promotion")
    return {
        **{"schema": 1, "kind": "change", "policy": policy.name, "model": model},
        "parent": None if parent is None else {"version": parent.version, "digest": parent.digest},
        **what,
        "judging": {name: _registered(workspace, given) for name, given in asked.get("judging", {}).items()},
        "counts": counts,
        "facts": dict(asked.get("facts", {})),
        "approvals": {"count": quorum.count, "roles": list(quorum.roles)},
        "policies": {policy.name: policy.digest, "promotion": promotion.digest},
        "estimate": _estimate(workspace, parent, policy, what, sum(counts.values())),
        "steps": [_second(parent, what) if number == 1 else step for number, step in enumerate(STEPS)],
    }


def _second(parent: ModelVersion | None, what: Mapping[str, Any]) -> str:
    if parent is None:
        return MAKING
    return DROPPING if "dropped" in what else SEARCHING if "candidates" in what else STEPS[1]


def _applying(workspace: Workspace, parent: ModelVersion | None, policy: Policy, asked: Mapping[str, Any]) -> Plan:
    records = {name: _registered(workspace, reference) for name, reference in asked["records"].items()}
    if not records and not asked.get("models"):
        raise BadInput(f"a change by the {policy.name} policy is given no records; name a registered data set")
    if policy.search is not None and parent is not None and not asked["operation"]:
        candidates = searched(workspace, policy.search, attached(workspace, parent.digest), records)
        least, against = (asdict(one) for one in (policy.search.least, policy.search.against))
        told = {"candidates": candidates, "least": least, "against": against}
        return {"operation": "", "parameters": {}, "seed": asked["seed"], "records": records, **told}
    operation = _choose(workspace, parent, policy, str(asked["operation"]))
    models = {name: _version(workspace, reference) for name, reference in asked.get("models", {}).items()}
    check_beside(operation, {name: attached(workspace, one.digest) for name, one in models.items()}, workspace.host)
    references = {**{name: Records(digest) for name, digest in records.items()}, **models}
    given = operation.check({**asked["parameters"], **references})
    scalars = {p.name: given[p.name] for p in operation.parameters if not p.is_reference}
    told = {name: {"model": one.name, "version": one.version, "digest": one.digest} for name, one in models.items()}
    return {
        "operation": operation.name, "parameters": scalars, "seed": asked["seed"], "records": records,
        **({"models": told} if told else {}), **({} if operation.needs_source else {"makes_model": True}),
    }  # fmt: skip


def _version(workspace: Workspace, reference: str) -> ModelVersion:
    """Return a version that an operation is given beside its source.

    Raises:
        Denied: It is sealed or purged.
    """
    with workspace.database.read() as connection:
        found = aliases.resolve(connection, reference)
    if found.status != "active":
        raise Denied(f"{found.name} is {found.status} and teaches nobody any more; name a version that is active")
    return found.name


def _choose(workspace: Workspace, parent: ModelVersion | None, policy: Policy, wanted: str) -> Operation:
    """Return the operation that was asked for, or the first of the policy's that is installed and fits the champion.

    Raises:
        Denied: None fits what the champion carries.
    """
    carried = set() if parent is None else attached(workspace, parent.digest)
    rungs = [wanted] if wanted else [name for name in policy.operations if name in workspace.host.operations]
    for name in rungs:
        operation = workspace.host.operation(name)
        if (operation.needs_source or wanted) and carried <= set(operation.accepts):
            return operation
    raise Denied(
        f"no operation of the {policy.name} policy that is installed can change {parent}, which carries "
        f"{', '.join(sorted(carried)) or 'no attachment'}; name another operation, or change a version without it"
    )


def _registered(workspace: Workspace, reference: str) -> str:
    with workspace.database.read() as connection:
        found = datasets.get(connection, reference)
    if found.status != "active":
        raise BadInput(f"data set {reference!r} is {found.status}; name the one that took its place")
    return found.digest


def _count(workspace: Workspace, digest: str) -> int:
    with workspace.database.read() as connection:
        return datasets.get(connection, digest).records


def _dropping(workspace: Workspace, parent: ModelVersion, asked: Mapping[str, Any]) -> Plan:
    dropped = dict(asked["dropped"])
    steps = read_recipe(workspace, parent.digest)["steps"]
    digest = _dataset_of(workspace, parent, dropped["dataset"])
    step = steps[first_touched(steps, {digest})]
    if not rebuilds_itself(workspace, step["operation"]):
        raise BadInput(f"{step['operation']} cannot be run again without some records; train the model anew instead")
    place_before(workspace, parent.digest, digest)
    told = {name: step[name] for name in ("operation", "parameters", "seed", "records")}
    return {**told, "dropped": {**dropped, "dataset": digest}}


def _dataset_of(workspace: Workspace, version: ModelVersion, reference: str) -> str:
    """Return the data set of a version's recipe that is meant, by its name, its digest, or `name@digest`."""
    steps = read_recipe(workspace, version.digest)["steps"]
    name, _, start = reference.partition("@")
    with workspace.database.read() as connection:
        known = {found.digest: found for found in datasets.find(connection)}
    for digest in (digest for step in reversed(steps) for digest in step["records"].values() if digest in known):
        if digest == reference or (known[digest].name == name and digest.startswith(start)):
            return str(digest)
    raise BadInput(f"{version} has learnt from no data set {reference!r}; see `amends models show {version}`")


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


def _estimate(
    workspace: Workspace, parent: ModelVersion | None, policy: Policy, what: Mapping[str, Any], records: int
) -> Plan:
    """Return what a change claims and writes, and how long it takes where an earlier one of its kind tells."""
    name = str(what["operation"])
    operation = workspace.host.operation(name or what["candidates"][0]["operation"])
    largest = [parent.digest] if parent is not None else list(beside(what).values())
    size = max((fetch_manifest(workspace.blobs, tree).size for tree in largest), default=0)
    seconds = None
    with workspace.database.read() as connection:
        for case in cases.find(connection, kind=policy.name, status=CaseStatus.COMPLETE, limit=None):
            plan, done = cases.get(connection, case.id).plan or {}, journal.step_result(connection, case.id, "apply")
            if done and plan.get("operation") == name and "dropped" not in plan:
                seconds = round(float(done["seconds"]) * records / max(1, sum(plan["counts"].values())), 1)
    return {
        "seconds": seconds, "disk_bytes": size, "cpus": min(operation.cpus, workspace.settings.cpus),
        "gpus": operation.gpus if workspace.settings.gpus else 0, "memory_gb": operation.memory_gb,
    }  # fmt: skip
