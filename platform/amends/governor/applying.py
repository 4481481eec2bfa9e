"""Carry an erasure out: rebuild the model, and build it once more in a process that never had the person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from amends.errors import Denied, TaskFailed
from amends.governor.preparing import never_trained
from amends.governor.running import Built, Step, finish, operate, read_recipe
from amends.governor.works import Result, Work, earlier, plans_of, stopper
from amends.governor.workspace import Workspace
from amends.ledger import inventory, lineage
from amends.records import Guarantee
from amends.store.trees import Manifest, fetch_manifest


def rebuild(workspace: Workspace, work: Work) -> Result:
    """Run the plan's operation on the champion, then every later step of its recipe again."""
    prepared = earlier(workspace, work, "prepare")
    if never_trained(prepared):
        return _as_it_is(workspace, prepared)
    operation = plans_of(workspace, work)[0]["operation"]
    built = _build(workspace, work, operation, prepared, fresh=False, source=None)
    return built.to_json()


def counterfactual(workspace: Workspace, work: Work) -> Result:
    """Build the same in a fresh process, cache and data file that never had the records."""
    operation = plans_of(workspace, work)[0]["operation"]
    if not workspace.host.operation(operation).rebuilds:
        return {"digest": None}
    prepared = earlier(workspace, work, "prepare")
    if never_trained(prepared):
        return _as_it_is(workspace, prepared)
    source = _clean_source(workspace, work, prepared)
    built = _build(workspace, work, operation, prepared, fresh=True, source=source)
    return built.to_json()


def _as_it_is(workspace: Workspace, prepared: Result) -> Result:
    digest = prepared["parent"]["digest"]
    recipe = read_recipe(workspace, digest)
    return Built(digest, {}, dict(recipe["steps"][-1]["fingerprint"]) if recipe["steps"] else {}, 0.0, recipe).to_json()


def _clean_source(workspace: Workspace, work: Work, prepared: Result) -> str:
    """Store the rebuilt version without anything that the rebuild wrote: no byte of it ever saw the records."""
    rebuilt = fetch_manifest(workspace.blobs, str(earlier(workspace, work, "rebuild")["digest"]))
    parent = fetch_manifest(workspace.blobs, prepared["parent"]["digest"])
    untouched = {name: entry for name, entry in rebuilt.files.items() if parent.files.get(name) == entry}
    indexes = {name: e for name, e in rebuilt.files.items() if name.endswith(".json") and name not in untouched}
    return str(workspace.blobs.put_bytes(Manifest({**untouched, **indexes}).to_bytes()))


@dataclass(frozen=True)
class _Place:
    """Where a recipe is entered anew: the touched step, the tree that it made, and that tree's state."""

    index: int
    tree: str
    state: Mapping[str, str]
    key_name: str


def _touched(workspace: Workspace, parent: str, held: set[str]) -> _Place:
    with workspace.database.read() as connection:
        steps = lineage.by_digest(connection, parent)[0].recipe["steps"]
        index = next((i for i, step in enumerate(steps) if held & set(step["records"].values())), 0)
        made = [
            version
            for version in (*lineage.by_digest(connection, parent), *lineage.ancestors(connection, parent))
            if len(version.recipe.get("steps", [])) == index + 1
        ]
        if not made:
            raise Denied("the version that learnt from these records is gone; retrain the model from its base")
        state = inventory.state_of(connection, made[0].digest)
    blobs = {name: blob.blob for name, blob in state.items()}
    key_name = next((blob.key_name for blob in state.values()), work_name(made[0].model))
    return _Place(index, made[0].digest, blobs, key_name)


def work_name(model: str) -> str:
    """Return the name of the key that encrypts a model's lineage state."""
    return f"lineage-{model}"


def _build(
    workspace: Workspace, work: Work, operation: str, prepared: Result, *, fresh: bool, source: str | None
) -> Built:
    parent, rewritten = prepared["parent"]["digest"], prepared["datasets"]
    place = _touched(workspace, parent, set(rewritten))
    steps = read_recipe(workspace, parent)["steps"]
    key = f"{work.lead}-{'counterfactual' if fresh else 'rebuild'}"
    recorded, run, recipe = _erasing(workspace, operation, steps, place, rewritten, prepared, parent)
    if fresh:
        run = Step(run.operation, run.records, {**run.parameters, "from_scratch": True}, run.seed)
    handle = operate(
        workspace,
        key,
        run,
        source=source or place.tree,
        state={} if fresh else place.state,
        lineage=f"{place.key_name}-fresh" if fresh else place.key_name,
        fresh=fresh,
    )
    is_stopped = stopper(workspace, work)
    built = finish(workspace, handle, recorded, recipe, is_stopped)
    for number, later in enumerate(steps[place.index + 1 :], start=1):
        step = Step(later["operation"], _renamed(later["records"], rewritten), later["parameters"], later["seed"])
        handle = operate(
            workspace, f"{key}-{number}", step, source=built.digest, state={}, lineage=place.key_name, fresh=fresh
        )
        again = finish(workspace, handle, step, built.recipe, is_stopped)
        built = Built(
            again.digest, {**built.state, **again.state}, again.fingerprint, built.seconds + again.seconds, again.recipe
        )
    return built


def _erasing(
    workspace: Workspace,
    operation: str,
    steps: Sequence[Mapping[str, Any]],
    place: _Place,
    rewritten: Mapping[str, Mapping[str, str]],
    prepared: Result,
    parent: str,
) -> tuple[Step, Step, dict[str, Any]]:
    """Return the step that the recipe shall show, the step to run, and the recipe before it."""
    recipe = read_recipe(workspace, parent)
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
