"""Carry a change out that is no erasure: apply it, measure it, let its policy judge, register it, promote it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amends.errors import Denied, Suppressed
from amends.governor.data.rows import blobs_of, put_rows, rows_of
from amends.governor.judging import approvals_for_policy, decide, find_policy
from amends.governor.models.promoting import champion, standing
from amends.governor.models.quarantine import refuse_quarantined
from amends.governor.models.recipes import read_recipe
from amends.governor.work.measuring import readings
from amends.governor.work.piece import (
    Result,
    Work,
    beside,
    compared,
    earlier,
    operation_of,
    plan_of,
    probed,
    stopper,
    wait,
)
from amends.governor.work.replacing import suppressed
from amends.governor.work.replaying import Place, Run, find_place, left_out, remaining, replay, state_beside, work_name
from amends.governor.work.running import Step, finish, operate
from amends.governor.work.running import measure as submit
from amends.governor.workspace import Workspace
from amends.ledger import cases, datasets, lineage
from amends.records import Change, ModelVersion
from amends.scheduler.jobs import reading_to_json


def prepare(workspace: Workspace, work: Work) -> Result:
    """Make sure that the plan still fits what there is, and write the records that stay where some are dropped.

    Raises:
        Denied: The champion or a data set is another one than the plan saw, or was set aside since.
        Suppressed: The records would bring back an erased person.
        BadPolicy: A policy has a mistake.
    """
    plan = plan_of(workspace, work)
    if not _is_as_planned(workspace, work, plan["parent"]):
        anew = f"run `amends cases replan {work.lead}` and have the new plan approved"
        if plan.get("facts"):  # they were stated for the champion of the time
            anew = "cancel it, and ask for the change anew"
        raise Denied(f"the champion of {work.model} is another one than the plan of case {work.lead} saw; {anew}")
    _check_source(workspace, work, plan)
    for policy in (plan["policy"], "promotion"):  # a mistake in one is better told now than after the work
        find_policy(workspace, policy)
    _check_standing(workspace, work, plan)
    _check_beside(workspace, work, plan)
    rest = _rest(workspace, plan["dropped"]) if "dropped" in plan else {}
    records = {name: rest.get(digest, {}).get("train", digest) for name, digest in plan["records"].items()}
    hits = suppressed(workspace, {digest: {"train": digest} for digest in records.values()})
    if hits:
        raise Suppressed(f"{hits} records name a person who was erased; register them without that person")
    first = champion(workspace, work.model) is None  # the model was only imported; no alias is expected to stand yet
    parent = None if plan["parent"] is None else dict(plan["parent"])
    return {"parent": parent, "first": first, "datasets": rest, "records": records}


def _is_as_planned(workspace: Workspace, work: Work, planned: Mapping[str, Any] | None) -> bool:
    """Whether the model stands where the plan saw it; a new one stands nowhere yet."""
    found = standing(workspace, work.model)
    if planned is None or found is None:
        return planned is None and found is None
    return (found.version, found.digest) == (planned["version"], planned["digest"])


def _check_source(workspace: Workspace, work: Work, plan: Mapping[str, Any]) -> None:
    """Refuse where the champion was set aside after the plan was made: nothing is made of it."""
    if plan["parent"] is not None:
        with workspace.database.read() as connection:
            found = lineage.get(connection, work.model, int(plan["parent"]["version"]))
        refuse_quarantined(workspace, found)


def _check_beside(workspace: Workspace, work: Work, plan: Mapping[str, Any]) -> None:
    """Refuse where a version beside the source, such as a teacher, was sealed, purged or set aside after the plan."""
    for planned in plan.get("models", {}).values():
        with workspace.database.read() as connection:
            found = lineage.get(connection, planned["model"], int(planned["version"]))
        if found.status != "active":
            raise Denied(f"{found.name} is {found.status} since the plan of case {work.lead} was made; open it anew")
        refuse_quarantined(workspace, found)


def _check_standing(workspace: Workspace, work: Work, plan: Mapping[str, Any]) -> None:
    gone = ("purged",) if "dropped" in plan else ("purged", "superseded")
    with workspace.database.read() as connection:
        found = [datasets.get(connection, digest) for digest in plan["records"].values()]
    if any(dataset.status in gone for dataset in found):
        raise Denied(
            f"a data set of case {work.lead} was replaced after its plan was made; open the change anew with the "
            "data set that took its place"
        )


def _rest(workspace: Workspace, dropped: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Write a data set without some records; what is withheld from training stays withheld."""
    old, ids = dropped["dataset"], set(dropped["ids"])
    with workspace.database.read() as connection:
        control = blobs_of(datasets.get(connection, old))[1]
    train = put_rows(workspace, (row for row in rows_of(workspace, old) if row["id"] not in ids), like=[old])
    return {old: {"train": train, "control": control, "from": old, "old_control": control}}


def apply(workspace: Workspace, work: Work) -> Result:
    """Run the operation on the champion; where records are dropped, run the recipe again from before they went in."""
    plan, prepared = plan_of(workspace, work), earlier(workspace, work, "prepare")
    if "dropped" in plan:
        return _without(workspace, work, prepared)
    parent = None if prepared["parent"] is None else str(prepared["parent"]["digest"])
    step = Step(plan["operation"], prepared["records"], plan["parameters"], plan["seed"], beside(plan))
    state, key_name = ({}, work_name(work.model)) if parent is None else state_beside(workspace, work.model, parent)
    handle = operate(workspace, f"{work.lead}-apply", step, source=parent, state=state, lineage=key_name)
    recipe = _beginning(workspace, plan) if parent is None else read_recipe(workspace, parent)
    built = finish(workspace, handle, step, recipe, stopper(workspace, work))
    return {**built.to_json(), "between": [], "lineage": key_name}


def _beginning(workspace: Workspace, plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recipe of a new model before its first step: from which version it comes, under which licence."""
    origin: dict[str, str] = {}
    for given in plan.get("models", {}).values():
        licence = str((read_recipe(workspace, given["digest"]).get("base") or {}).get("licence", ""))
        origin = origin or {"source": f"{given['model']}@{given['version']}", "licence": licence}
    return {"schema": 1, "base": origin, "founded": True, "steps": []}


def _without(workspace: Workspace, work: Work, prepared: Result) -> Result:
    parent, old = prepared["parent"]["digest"], next(iter(prepared["datasets"]))
    recipe, place = read_recipe(workspace, parent), place_before(workspace, parent, old)
    runs = [Run(step, step) for _, step in remaining(workspace, recipe["steps"], prepared, place.start)]
    before = {**recipe, "steps": recipe["steps"][: place.start]}
    done = replay(workspace, work, f"{work.lead}-apply", place, runs, before)
    gone = left_out(workspace, recipe["steps"], prepared)
    return {
        **done.built.to_json(),
        "between": list(done.between),
        "lineage": place.key_name,
        "left_out": [number for number in gone if number >= place.start],
    }


def place_before(workspace: Workspace, parent: str, dataset: str) -> Place:
    """Return the place before a data set went into a version.

    Raises:
        Denied: The version that stood there was purged.
    """
    place = find_place(workspace, parent, {dataset})
    if place.start != place.index:
        raise Denied(
            "the version from before these records went in was purged, so they cannot be dropped exactly; "
            "make the change again from a version that stands"
        )
    return place


def measure(workspace: Workspace, work: Work) -> Result:
    """Read every probe that the policy wants on the parent and on the candidate."""
    plan, prepared = plan_of(workspace, work), earlier(workspace, work, "prepare")
    probes, began = find_policy(workspace, plan["policy"]).probes, prepared["parent"]
    if not probes:
        return {"before": [], "after": []}
    handle = submit(
        workspace, f"{work.lead}-measure", probes, model=str(earlier(workspace, work, "apply")["digest"]),
        before=None if began is None else str(began["digest"]), reference=compared(plan),
        records=probed(plan, prepared["records"]), models=beside(plan),
        seed=int(work.lead[2:10], 16),
    )  # fmt: skip
    result = wait(handle, stopper(workspace, work))
    found = {"before": result.before, "after": result.readings}
    return {when: [reading_to_json(reading) for reading in some] for when, some in found.items()}


def judge(workspace: Workspace, work: Work) -> Result:
    """Let the change's policy judge.

    Raises:
        Denied: It does not allow the candidate; the champion stays.
    """
    policy = str(plan_of(workspace, work)["policy"])
    decision = f"{work.lead}-{policy}-{work.attempt}"
    approved = approvals_for_policy(workspace, work.cases)
    change, facts = change_of(workspace, work), facts_of(workspace, work)
    verdict = decide(workspace, policy, decision, work.lead, change, facts, approved)
    if not verdict.allowed:
        raise Denied(f"the {policy} policy denies: {'; '.join(verdict.reasons())}")
    return {"decision": decision, "policy": verdict.policy_digest}


def change_of(workspace: Workspace, work: Work, candidate: ModelVersion | None = None) -> Change:
    """Return what is judged: what the change began from, what it made, and what was read on both."""
    prepared, measured = earlier(workspace, work, "prepare"), earlier(workspace, work, "measure")
    began = prepared["parent"]
    parent = None if began is None else ModelVersion(work.model, began["version"], began["digest"])
    made = candidate or ModelVersion(work.model, 0, str(earlier(workspace, work, "apply")["digest"]))
    before, after = readings(measured, "before"), readings(measured, "after")
    return Change(applied_by(workspace, work)[0], parent, made, before, after)


def applied_by(workspace: Workspace, work: Work) -> tuple[str, Mapping[str, str]]:
    """Return which operation made the candidate and what records it was given: the plan's, or what a search chose."""
    plan, built = plan_of(workspace, work), earlier(workspace, work, "apply")
    given = earlier(workspace, work, "prepare")["records"]
    return operation_of(plan, built), built.get("records", given)


def facts_of(workspace: Workspace, work: Work) -> dict[str, Any]:
    """Return what was stated of a change and what the governor knows of it, which goes before.

    `prepare` looked for people who were erased, and found none.
    """
    with workspace.database.read() as connection:
        lead = cases.get(connection, work.lead)
    known = {"plan_digest": str(lead.plan_digest), "requester": lead.requester}
    stated = plan_of(workspace, work).get("facts", {})
    return {**stated, **known, "suppression_checked": True, "suppression_hits": 0}
