"""Write down what is to be done, so that two people can approve just that and nothing else."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from amends.errors import BadInput, Denied
from amends.governor.cases.costing import priced, repeating
from amends.governor.judging import find_policy
from amends.governor.models.heirs import heirs_of, taught_by
from amends.governor.models.promoting import champion
from amends.governor.subjects.locating import Located, Reach, learnt_from
from amends.governor.work.replaying import rebuilds_itself, runs_again
from amends.governor.workspace import Workspace
from amends.ledger import cases, datasets, lineage
from amends.ledger.actions import Action
from amends.records import Case, CaseStatus, Guarantee
from amends.store.trees import fetch_manifest

if TYPE_CHECKING:
    from sqlalchemy import Connection

GROUNDS = {
    "17(1)(a)": "the data are no longer needed for their purpose",
    "17(1)(b)": "consent was withdrawn",
    "17(1)(c)": "the data subject objects to the processing",
    "17(1)(d)": "the data were processed unlawfully",
    "17(1)(e)": "the law requires erasure",
    "ccpa": "a consumer asks for deletion (Cal. Civ. Code 1798.105)",
}
STEPS = {
    "prepare": "write the data sets again without the subject's records",
    "rebuild": "bring the model to what training on the remaining records gives, and replay its later steps",
    "counterfactual": "do the same in a fresh process, cache and data file that never had the records",
    "compare": "compare the two, every byte of the served version",
    "measure": "read the probes on the model before and after",
    "judge": "let the erasure policy judge",
    "register": "register the new version",
    "promote": "move the alias, as the promotion policy allows",
    "purge": "delete what held the subject, and scan for what is left",
    "attest": "sign the certificate and close the case",
}


RETIRING = {
    "prepare": "list what holds the subject",
    "withdraw": "take every alias away from these versions, and seal them",
    "purge": "delete them with all that belongs to them, and scan for what is left",
    "attest": "sign the record and close the case",
}
QUORUM = 2
"""How many people approve an erasure at the least, whatever its policy says."""
OUTSIDE = (
    "this model stands on imported weights that were declared to hold the person, so running its steps again would "
    "take nobody out; import weights that never had them, and make the later changes on these"
)
ORDER = (*list(STEPS)[:-2], "withdraw", *list(STEPS)[-2:])
"""The order in which the steps of either are done."""


def make_plan(
    workspace: Workspace,
    case: Case,
    located: Located,
    reached: Reach,
    marks: Mapping[str, Mapping[str, str]],
    *,
    ground: str,
    identity: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the plan of an erasure: what holds the subject, what will be done, at what cost, with what guarantee.

    Args:
        workspace: Where the model is.
        case: The request.
        located: Where the subject is.
        reached: What holds them through lineage.
        marks: How each near miss was decided, by record id: `mark` and `dataset`.
        ground: One of `GROUNDS`.
        identity: How it was checked that the request is the subject's own.

    Raises:
        BadInput: The model has no champion.
        Denied: No operation can erase from this model.
    """
    target = champion(workspace, case.model)
    if target is None:
        raise BadInput(f"{case.model} has no champion; promote a version, or name another model")
    erasure, promotion = find_policy(workspace, "erasure"), find_policy(workspace, "promotion")
    with workspace.database.read() as connection:
        found = lineage.tainted_by(connection, learnt_from(workspace, located, marks))
    tainted = [version.digest for version in found]
    ladder = choose_ladder(workspace, target.digest, erasure.operations, list(located.records), tainted)
    check_teachers(workspace, case.model, target.digest, tainted)
    operation, guarantee = ladder[0]
    return {
        "schema": 1,
        "kind": "erasure",
        "model": case.model,
        "subject": case.subject.pseudonym,
        "ground": {"article": ground, "because": GROUNDS[ground]},
        "identity": dict(identity),
        "records": {digest: list(ids) for digest, ids in sorted(located.records.items())},
        "searched": list(located.searched),
        "reviewed": {record: dict(mark) for record, mark in sorted(marks.items())},
        "operation": operation,
        "guarantee": str(guarantee),
        "ladder": priced(workspace, erasure, case.id, target.digest, ladder, located.records),
        "steps": dict(STEPS),
        "holds": held_by(located, reached),
        "parent_when_planned": str(target),
        "rollback": rollback_of(workspace, case.model, reached),
        "estimate": estimate_of(workspace, target.digest, reached, ladder),
        "approvals": {"count": max(QUORUM, erasure.approvals.count), "roles": list(erasure.approvals.roles)},
        "policies": {"erasure": erasure.digest, "promotion": promotion.digest},
        "purge_after_days": erasure.purge_after_days,
        "retention_days": erasure.retention_days,
    }


def give_plan(workspace: Workspace, connection: Connection, id: str, plan: Mapping[str, Any]) -> Case:
    """Give a case a plan to be approved; decisions on another plan are void, and so is why that one stopped."""
    stopped = cases.get(connection, id).reason
    digest = cases.set_plan(connection, id, plan)
    key = f"{id}:planned:{digest[:16]}:{workspace.actor.id}"
    workspace.record(connection, key, Action.CASE_PLANNED, {"plan": digest})
    return cases.set_status(connection, id, CaseStatus.AWAITING_APPROVAL, reason="" if stopped else None)


def held_by(located: Located, reached: Reach) -> dict[str, Any]:
    """Return what holds the subject, by what can be deleted, told or asked."""
    return {
        "versions": [f"{v.model}@{v.number}" for v in reached.versions],
        "datasets": sorted(located.records),
        "state_blobs": reached.state,
        "stores": dict(reached.stores),
        "recipients": list(reached.recipients),
    }


def check_teachers(workspace: Workspace, model: str, digest: str, tainted: Collection[str]) -> None:
    """Refuse to erase from a version that was made with another model's which holds the subject still.

    Raises:
        Denied: It was, and nothing took that version's place.
    """
    with workspace.database.read() as connection:
        steps = lineage.by_digest(connection, digest)[0].recipe.get("steps", [])
        taught = taught_by(steps, tainted)
        missing = sorted(taught - heirs_of(connection, taught, tainted).keys())
        names = [str(version.name) for one in missing for version in lineage.by_digest(connection, one)]
    if names:
        raise Denied(
            f"{model} was made with {names[0]}, which holds the person as well; ask for the erasure from "
            f"{names[0].partition('@')[0]}, which opens a case for {model} by itself"
        )


def choose_ladder(
    workspace: Workspace, digest: str, operations: tuple[str, ...], held: list[str], tainted: Collection[str] = ()
) -> list[tuple[str, Guarantee]]:
    """Return what can erase from this version, with each guarantee, in the order in which it is to be tried.

    Where an exact operation fits, only exact ones: what bits can prove is not left to readings. Elsewhere every
    approximate operation that the policy names, in its order; the next is tried where the policy denies the one before.

    A step that rebuilds itself needs no rung: run again without the records, it gives what it would have given. Nor
    does one that knows the person from its teacher alone, run again with what took the teacher's place. The first step
    that learnt from them decides; the later ones are replayed after it.

    Args:
        workspace: Where the version is.
        digest: Its tree digest.
        operations: The policy's, from the strongest guarantee to the weakest.
        held: The data sets that hold the person.
        tainted: The versions that do.

    Raises:
        Denied: None can.
    """
    with workspace.database.read() as connection:
        steps = lineage.by_digest(connection, digest)[0].recipe.get("steps", [])
        if steps and stands_on(connection, digest, tainted):
            raise Denied(OUTSIDE)
    at = touched_at(steps, held, tainted)
    first = steps[0 if at is None else at] if steps else None
    if first is not None and runs_again(workspace, first, {*held, *tainted}):
        own = workspace.host.operation(first["operation"])
        if own.guarantee or not rebuilds_itself(workspace, own.name):
            return [(own.name, own.guarantee or Guarantee.EXACT)]
    # where it learnt from none of these, it stays as it is
    touched = [step["operation"] for step in (steps if at is None else steps[at : at + 1])]
    carried = attached(workspace, digest)
    found: list[tuple[str, Guarantee]] = []
    for name in operations:
        operation = workspace.host.operation(name)
        fits = operation.rebuilds in touched if operation.rebuilds else carried <= set(operation.accepts)
        if operation.guarantee and fits:
            found.append((name, operation.guarantee))
    exact = [rung for rung in found if rung[1] != Guarantee.APPROXIMATE]
    if found:
        return exact or found
    raise Denied(
        "no operation of the erasure policy can erase from this model; train it with training.shards or "
        "training.finetune, or add an operation to policies/erasure.yaml"
    )


def stands_on(connection: Connection, digest: str, tainted: Collection[str]) -> bool:
    """Whether a version stands on one of these that no step made: an import that was declared to descend or learn."""
    line = (*lineage.by_digest(connection, digest), *lineage.ancestors(connection, digest, without=["teacher"]))
    return any(version.digest in tainted and not version.recipe.get("steps") for version in line)


def touched_at(steps: Sequence[Mapping[str, Any]], held: Collection[str], tainted: Collection[str]) -> int | None:
    """Return the first step that learnt from any of these data sets or versions, None where none did."""
    wanted = {*held, *tainted}
    learnt = [{*step["records"].values(), *step.get("models", {}).values()} for step in steps]
    return next((number for number, names in enumerate(learnt) if names & wanted), None)


def attached(workspace: Workspace, digest: str) -> set[str]:
    """Return the kinds of attachment that a version carries."""
    return {name.split("/")[1] for name in fetch_manifest(workspace.blobs, digest).files if name.count("/") > 1}


def rollback_of(workspace: Workspace, model: str, reached: Reach) -> str:
    """Return a version of a model that holds nobody who goes, or say that there is none."""
    held = {(version.model, version.number) for version in reached.versions}
    with workspace.database.read() as connection:
        clean = [v for v in lineage.versions_of(connection, model) if (v.model, v.number) not in held]
    alive = [version for version in clean if str(version.status) == "active"]
    return f"{model}@{alive[-1].number}" if alive else "none: every version of this model holds the subject"


def estimate_of(
    workspace: Workspace, digest: str, reached: Reach, ladder: Sequence[tuple[str, Guarantee]]
) -> dict[str, Any]:
    """Return what erasing from a version will take, as far as anybody knows.

    `training_seconds` are those of an exact erasure, which is built twice; None where they are not known.
    """
    with workspace.database.read() as connection:
        records = [datasets.get(connection, use.dataset).records for use in lineage.data_of(connection, digest)]
    seconds = repeating(workspace, digest, ladder[0][0]) if ladder else None
    return {
        "training_seconds": None if seconds is None else round(2 * seconds, 1),
        "disk_bytes": reached.bytes,
        "cpus": workspace.settings.cpus,
        "records_trained": sum(records),
    }
