"""Carry an erasure out: rebuild the model, and build it once more in a process that never had the person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from amends.errors import Denied, TaskFailed
from amends.governor.models.recipes import base_of, read_recipe
from amends.governor.work.climbing import ladder_of, rung_mark, rung_of
from amends.governor.work.piece import Result, Work, earlier
from amends.governor.work.preparing import never_trained
from amends.governor.work.replaying import (
    Place,
    Replayed,
    Run,
    again,
    as_it_is,
    clean_source,
    find_place,
    from_before,
    left_out,
    remaining,
    replay,
)
from amends.governor.work.running import Step
from amends.governor.workspace import Workspace
from amends.ledger import lineage
from amends.records import Guarantee, weakest


def rebuild(workspace: Workspace, work: Work) -> Result:
    """Run the plan's operation on the champion, then every later step of its recipe again."""
    prepared = earlier(workspace, work, "prepare")
    parent = prepared["parent"]["digest"]
    operation = _operation(workspace, work, prepared)
    if never_trained(prepared):
        return {**as_it_is(workspace, parent).to_json(), "operation": operation}
    place = _begin(workspace, prepared, operation)
    built = _build(workspace, work, prepared, place, operation)
    gone = left_out(workspace, _steps(workspace, prepared), prepared)
    return {
        **built.built.to_json(),
        "operation": operation,
        "first": next(iter((*built.between, built.built.digest))),
        "between": list(built.between),
        "lineage": place.key_name,
        "left_out": [i for i in gone if i >= place.start],
    }


def counterfactual(workspace: Workspace, work: Work) -> Result:
    """Build the same in a fresh process, cache and data file that never had the records."""
    prepared, rebuilt = earlier(workspace, work, "prepare"), earlier(workspace, work, "rebuild")
    operation = str(rebuilt["operation"])
    rebuilds = bool(workspace.host.operation(operation).rebuilds)
    if never_trained(prepared):
        return as_it_is(workspace, prepared["parent"]["digest"]).to_json() if rebuilds else {"digest": None}
    place = _begin(workspace, prepared, operation)
    if not rebuilds and not place.is_again:
        return {"digest": None}
    clean = place
    if not place.is_again:  # else it begins from a version and a state that never saw them
        same = place.tree == place.before  # what the step began from never saw them either
        tree = place.tree if same else clean_source(workspace, str(rebuilt["first"]), place.tree)
        clean = replace(place, tree=tree, state={}, key_name=f"{place.key_name}-fresh")
    built = _build(workspace, work, prepared, clean, operation, fresh=True)
    return {**built.built.to_json(), "between": list(built.between)}


def _begin(workspace: Workspace, prepared: Result, operation: str) -> Place:
    """Return where an operation enters the champion's recipe."""
    place = _place(workspace, prepared)
    is_another = not place.is_again and bool(workspace.host.operation(operation).rebuilds)
    return from_before(workspace, place) if is_another else place


def _place(workspace: Workspace, prepared: Result) -> Place:
    held, replaced = set(prepared["datasets"]), prepared.get("models", {})
    return find_place(workspace, prepared["parent"]["digest"], held, replaced)


def _steps(workspace: Workspace, prepared: Result) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = read_recipe(workspace, prepared["parent"]["digest"])["steps"]
    return found


def _operation(workspace: Workspace, work: Work, prepared: Result) -> str:
    """Return what erases from the champion as it stands: of several plans that are one Change, whichever fits it.

    Raises:
        Denied: None does; the champion is another one by now.
    """
    ladder, rung = ladder_of(workspace, work), rung_of(workspace, work)
    steps = _steps(workspace, prepared)
    if never_trained(prepared) or not steps:
        return ladder[rung]
    place = _place(workspace, prepared)
    touched = str(steps[place.index]["operation"])
    if place.is_again:
        return touched
    for name in ladder[rung:]:
        if workspace.host.operation(name).rebuilds in ("", touched):
            return name
    raise Denied(
        f"the champion of {work.model} is another one than the plan saw, and {ladder[rung]} cannot erase from it; "
        f"run `amends cases replan {work.lead}` and have the new plan approved"
    )


def _build(
    workspace: Workspace, work: Work, prepared: Result, place: Place, operation: str, *, fresh: bool = False
) -> Replayed:
    """Run the touched step and replay the later ones."""
    steps, recipe = _steps(workspace, prepared), read_recipe(workspace, prepared["parent"]["digest"])
    key = f"{work.lead}-{'counterfactual' if fresh else 'rebuild'}{rung_mark(rung_of(workspace, work))}"
    if not place.is_again and not workspace.host.operation(operation).rebuilds:
        later = [again(step, prepared) for step in steps[place.index + 1 :]]
        runs = [_unlearning(workspace, prepared, operation), *(Run(step, step) for step in later)]
        return replay(workspace, work, key, place, runs, {**recipe, "steps": list(steps)}, fresh)
    runs = []
    for number, step in remaining(workspace, steps, prepared, place.start):
        run = replace(step, operation=operation) if number == place.index else step
        runs.append(Run(step, _from_scratch(workspace, run) if fresh and number == place.index else run))
    before = _recipe_before(workspace, {**recipe, "steps": list(steps[: place.start])}, prepared, place)
    return replay(workspace, work, key, place, runs, before, fresh)


def _recipe_before(workspace: Workspace, recipe: dict[str, Any], prepared: Result, place: Place) -> dict[str, Any]:
    """Return the recipe of what steps begin from: a version that took another's place was made by one of its own.

    A new model's recipe says which version it comes from; that is the one that took its teacher's place.
    """
    replaced: Mapping[str, str] = prepared.get("models", {})
    if place.tree in replaced.values():
        return read_recipe(workspace, place.tree)
    origin = (recipe.get("base") or {}).get("source", "")
    with workspace.database.read() as connection:
        names = {
            str(old.name): str(new.name)
            for digest, heir in replaced.items()
            for old, new in product(lineage.by_digest(connection, digest), lineage.by_digest(connection, heir))
        }
    return {**recipe, "base": {**recipe["base"], "source": names[origin]}} if origin in names else recipe


def _from_scratch(workspace: Workspace, step: Step) -> Step:
    """Tell an operation that goes on from checkpoints not to use any."""
    known = {parameter.name for parameter in workspace.host.operation(step.operation).parameters}
    return replace(step, parameters={**step.parameters, "from_scratch": True}) if "from_scratch" in known else step


def _unlearning(workspace: Workspace, prepared: Result, operation: str) -> Run:
    """Return a step that makes the model forget; its recipe names what it kept, and nothing that went.

    What it asks for besides, it is given: the people who were withheld as `control`, and as `reference` the model
    before any training, which say what one who never knew would say.
    """
    wanted = {parameter.name for parameter in workspace.host.operation(operation).parameters}
    first = next(iter(prepared["datasets"].values()))
    records = {"forget": prepared["forget"], "retain": first["train"]}
    if "control" in wanted and workspace.blobs.get(first["control"]):
        records["control"] = first["control"]
    base = base_of(workspace, prepared["parent"]["digest"])
    is_other = "reference" in wanted and base != prepared["parent"]["digest"]
    run = Step(operation, records, {}, 0, {"reference": base} if is_other else {})
    return Run(Step(operation, {"retain": first["train"]}, {}, 0), run)


def compare(workspace: Workspace, work: Work) -> Result:
    """Compare the rebuilt version with the counterfactual and name the guarantee; the digest decides.

    Raises:
        TaskFailed: They differ on one stack: something that learnt from the person went in.
    """
    rebuilt, other = earlier(workspace, work, "rebuild"), earlier(workspace, work, "counterfactual")
    if other["digest"] is None:
        return {"digests_equal": False, "guarantee": str(Guarantee.APPROXIMATE), "same_stack": False}
    parent = read_recipe(workspace, earlier(workspace, work, "prepare")["parent"]["digest"])
    gone = rebuilt.get("left_out", ())
    stacks = [stack for number, stack in enumerate(_fingerprints(parent)) if number not in gone]
    one_stack = stacks == _fingerprints(rebuilt["recipe"]) == _fingerprints(other["recipe"])
    equal = rebuilt["digest"] == other["digest"]
    if one_stack and not equal:
        raise TaskFailed(
            "the rebuilt version differs from one that never had the records, on the same stack; "
            "nothing is promoted: check the operation's determinism, then retry the case"
        )
    guarantee = Guarantee.EXACT if one_stack else Guarantee.EXACT_BY_DATA_FLOW
    promised = weakest([guarantee, *_inherited(workspace, earlier(workspace, work, "prepare"))])
    return {"digests_equal": equal, "guarantee": str(promised), "same_stack": one_stack}


def _inherited(workspace: Workspace, prepared: Result) -> list[Guarantee]:
    """Return what was promised of the versions that this one was made with again: it holds what they may still hold."""
    with workspace.database.read() as connection:
        found = [lineage.by_digest(connection, digest) for digest in prepared.get("models", {}).values()]
    return [version.guarantee for versions in found for version in versions if version.guarantee is not None]


def _fingerprints(recipe: Mapping[str, Any]) -> list[Any]:
    return [step["fingerprint"] for step in recipe["steps"]]
