"""Write down what a change will do: to which version, by which operation, with which records, at what cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from amends.errors import BadInput, Denied, UnknownModel
from amends.governor.cases.planning import attached
from amends.governor.cases.searching import searched
from amends.governor.judging import find_policy
from amends.governor.models.importing import check_model_name
from amends.governor.models.promoting import standing
from amends.governor.models.quarantine import refuse_quarantined
from amends.governor.models.recipes import read_recipe
from amends.governor.work.changing import place_before
from amends.governor.work.piece import beside
from amends.governor.work.replaying import first_touched, rebuilds_itself
from amends.governor.workspace import Workspace
from amends.ledger import aliases, cases, datasets, journal, lineage
from amends.policy import Policy
from amends.records import CaseStatus, ModelVersion, Records
from amends.scheduler.checks import check_beside
from amends.store.trees import fetch_manifest

if TYPE_CHECKING:
    from amends.operation import Operation

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


def plan_change(workspace: Workspace, model: str, policy: Policy, asked: Mapping[str, Any]) -> Plan:
    """Return the plan of a change.

    Raises:
        BadInput: Something that was asked for cannot be used.
        Denied: No operation can change this version, or it is set aside.
    """
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


def _began(workspace: Workspace, model: str, asked: Mapping[str, Any]) -> ModelVersion | None:
    """Return what a change begins from; None where it makes the first version of a new model."""
    found = standing(workspace, model)
    name = str(asked.get("operation", ""))
    if found is None and name and not workspace.host.operation(name).needs_source:
        check_model_name(model)
        return None
    return champion_of(workspace, model)


def champion_of(workspace: Workspace, model: str) -> ModelVersion:
    """Return what a change begins from: the champion, or the newest version of a model that was only imported."""
    found = standing(workspace, model)
    if found is None:
        raise UnknownModel(f"there is no model {model!r} with an active version; see `amends models list`")
    with workspace.database.read() as connection:
        version = lineage.get(connection, found.name, found.version)
    refuse_quarantined(workspace, version)
    return found


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
    operation = choose_operation(workspace, parent, policy, str(asked["operation"]))
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
        Denied: It is sealed, purged or quarantined.
    """
    with workspace.database.read() as connection:
        found = aliases.resolve(connection, reference)
    if found.status != "active":
        raise Denied(f"{found.name} is {found.status} and teaches nobody any more; name a version that is active")
    refuse_quarantined(workspace, found)
    return found.name


def choose_operation(workspace: Workspace, parent: ModelVersion | None, policy: Policy, wanted: str) -> Operation:
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
    digest = dataset_of(workspace, parent, dropped["dataset"])
    step = steps[first_touched(steps, {digest})]
    if not rebuilds_itself(workspace, step["operation"]):
        raise BadInput(f"{step['operation']} cannot be run again without some records; train the model anew instead")
    place_before(workspace, parent.digest, digest)
    told = {name: step[name] for name in ("operation", "parameters", "seed", "records")}
    return {**told, "dropped": {**dropped, "dataset": digest}}


def dataset_of(workspace: Workspace, version: ModelVersion, reference: str) -> str:
    """Return the data set of a version's recipe that is meant, by its name, its digest, or `name@digest`."""
    steps = read_recipe(workspace, version.digest)["steps"]
    name, _, start = reference.partition("@")
    with workspace.database.read() as connection:
        known = {found.digest: found for found in datasets.find(connection)}
    for digest in (digest for step in reversed(steps) for digest in step["records"].values() if digest in known):
        if digest == reference or (known[digest].name == name and digest.startswith(start)):
            return str(digest)
    raise BadInput(f"{version} has learnt from no data set {reference!r}; see `amends models show {version}`")


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
