"""Carry an erasure out: rebuild the model, and build it once more in a process that never had the person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from amends.errors import Denied, TaskFailed
from amends.governor.models.recipes import read_recipe
from amends.governor.work.piece import Result, Work, earlier, plans_of, stopper
from amends.governor.work.preparing import never_trained
from amends.governor.work.running import Built, Step, finish, operate
from amends.governor.workspace import Workspace
from amends.ledger import inventory, lineage
from amends.records import Guarantee
from amends.store.trees import Manifest, fetch_manifest


def rebuild(workspace: Workspace, work: Work) -> Result:
    """Run the plan's operation on the champion, then every later step of its recipe again."""
    prepared = earlier(workspace, work, "prepare")
    if never_trained(prepared):
        return _as_it_is(workspace, prepared)
    place = _touched(workspace, prepared["parent"]["digest"], set(prepared["datasets"]))
    first, built = _build(workspace, work, prepared, place)
    return {**built.to_json(), "first": first, "lineage": place.key_name}


def counterfactual(workspace: Workspace, work: Work) -> Result:
    """Build the same in a fresh process, cache and data file that never had the records."""
    if not workspace.host.operation(_operation(workspace, work)).rebuilds:
        return {"digest": None}
    prepared = earlier(workspace, work, "prepare")
    if never_trained(prepared):
        return _as_it_is(workspace, prepared)
    place = _touched(workspace, prepared["parent"]["digest"], set(prepared["datasets"]))
    source = _clean_source(workspace, str(earlier(workspace, work, "rebuild")["first"]), place.tree)
    clean = _Place(place.index, source, {}, f"{place.key_name}-fresh")
    return _build(workspace, work, prepared, clean, fresh=True)[1].to_json()


def _operation(workspace: Workspace, work: Work) -> str:
    return str(plans_of(workspace, work)[0]["operation"])


def _as_it_is(workspace: Workspace, prepared: Result) -> Result:
    digest = prepared["parent"]["digest"]
    recipe = read_recipe(workspace, digest)
    return Built(digest, {}, dict(recipe["steps"][-1]["fingerprint"]) if recipe["steps"] else {}, 0.0, recipe).to_json()


def _clean_source(workspace: Workspace, rebuilt: str, began: str) -> str:
    """Store the rebuilt version without anything that the rebuild wrote: no byte of it ever saw the records."""
    after, before = fetch_manifest(workspace.blobs, rebuilt), fetch_manifest(workspace.blobs, began)
    untouched = {name: entry for name, entry in after.files.items() if before.files.get(name) == entry}
    indexes = {name: e for name, e in after.files.items() if name.endswith(".json") and name not in untouched}
    return str(workspace.blobs.put_bytes(Manifest({**untouched, **indexes}).to_bytes()))


@dataclass(frozen=True)
class _Place:
    """Where a recipe is entered anew: the touched step, a tree to begin from, and the lineage's state."""

    index: int
    tree: str
    state: Mapping[str, str]
    key_name: str


def _touched(workspace: Workspace, parent: str, held: set[str]) -> _Place:
    """Find the first step that learnt from what goes, and the version that it made, or else the one it began from.

    A rebuilt version of several steps has no version of its first ones beside it; its state has their checkpoints.
    """
    with workspace.database.read() as connection:
        itself = lineage.by_digest(connection, parent)
        steps = itself[0].recipe["steps"]
        index = next((i for i, step in enumerate(steps) if held & set(step["records"].values())), 0)
        alive = [v for v in (*itself, *lineage.ancestors(connection, parent)) if v.status != "purged"]
        by_length = {len(version.recipe.get("steps", [])): version.digest for version in reversed(alive)}
        made, began = by_length.get(index + 1), by_length.get(index)
        if made is None and began is None:
            raise Denied("the version that learnt from these records is gone; retrain the model from its base")
        state = inventory.state_of(connection, made or parent)
    blobs = {name: blob.blob for name, blob in state.items()}
    key_name = next((blob.key_name for blob in state.values()), work_name(itself[0].model))
    return _Place(index, str(made or began), blobs, key_name)


def work_name(model: str) -> str:
    """Return the name of the key that encrypts a model's lineage state."""
    return f"lineage-{model}"


def _build(
    workspace: Workspace, work: Work, prepared: Result, place: _Place, *, fresh: bool = False
) -> tuple[str, Built]:
    """Run the touched step and replay the later ones; return the tree of the first, and what came out in the end."""
    rewritten = prepared["datasets"]
    steps = read_recipe(workspace, prepared["parent"]["digest"])["steps"]
    key = f"{work.lead}-{'counterfactual' if fresh else 'rebuild'}"
    recorded, run, recipe = _erasing(workspace, work, steps, place, prepared)
    if fresh:
        run = Step(run.operation, run.records, {**run.parameters, "from_scratch": True}, run.seed)
    start = partial(operate, workspace, lineage=place.key_name, fresh=fresh)
    is_stopped = stopper(workspace, work)
    handle = start(key, run, source=place.tree, state=place.state)
    built = finish(workspace, handle, recorded, recipe, is_stopped)
    first = built.digest
    for number, later in enumerate(steps[place.index + 1 :], start=1):
        step = Step(later["operation"], _renamed(later["records"], rewritten), later["parameters"], later["seed"])
        handle = start(f"{key}-{number}", step, source=built.digest, state={})
        again = finish(workspace, handle, step, built.recipe, is_stopped)
        seconds, state = built.seconds + again.seconds, {**built.state, **again.state}
        built = Built(again.digest, state, again.fingerprint, seconds, again.recipe)
    return first, built


def _erasing(
    workspace: Workspace, work: Work, steps: Sequence[Mapping[str, Any]], place: _Place, prepared: Result
) -> tuple[Step, Step, dict[str, Any]]:
    """Return the step that the recipe shall show, the step to run, and the recipe before it."""
    recipe = read_recipe(workspace, prepared["parent"]["digest"])
    operation, rewritten = _operation(workspace, work), prepared["datasets"]
    if workspace.host.operation(operation).rebuilds:
        old = steps[place.index]
        records = _renamed(old["records"], rewritten)
        recorded = Step(old["operation"], records, old["parameters"], old["seed"])
        run = Step(operation, records, old["parameters"], old["seed"])
        return recorded, run, {**recipe, "steps": list(steps[: place.index])}
    retain = next(iter(rewritten.values()))["train"]
    run = Step(operation, {"forget": prepared["forget"], "retain": retain}, {}, 0)
    shown = Step(operation, {"retain": retain}, {}, 0)
    return shown, run, {**recipe, "steps": list(steps)}


def _renamed(records: Mapping[str, str], rewritten: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    return {name: rewritten[digest]["train"] if digest in rewritten else digest for name, digest in records.items()}


def compare(workspace: Workspace, work: Work) -> Result:
    """Compare the rebuilt version with the counterfactual and name the guarantee; the digest decides.

    Raises:
        TaskFailed: They differ on one stack: something that learnt from the person went in.
    """
    rebuilt, other = earlier(workspace, work, "rebuild"), earlier(workspace, work, "counterfactual")
    if other["digest"] is None:
        return {"digests_equal": False, "guarantee": str(Guarantee.APPROXIMATE), "same_stack": False}
    parent = read_recipe(workspace, earlier(workspace, work, "prepare")["parent"]["digest"])
    one_stack = _fingerprints(parent) == _fingerprints(rebuilt["recipe"]) == _fingerprints(other["recipe"])
    equal = rebuilt["digest"] == other["digest"]
    if one_stack and not equal:
        raise TaskFailed(
            "the rebuilt version differs from one that never had the records, on the same stack; "
            "nothing is promoted: check the operation's determinism, then retry the case"
        )
    guarantee = Guarantee.EXACT if one_stack else Guarantee.EXACT_BY_DATA_FLOW
    return {"digests_equal": equal, "guarantee": str(guarantee), "same_stack": one_stack}


def _fingerprints(recipe: Mapping[str, Any]) -> list[Any]:
    return [step["fingerprint"] for step in recipe["steps"]]
