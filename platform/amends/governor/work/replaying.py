"""Enter a recipe anew at one step and run it from there on: where to begin, what to run, what comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from amends.errors import Denied
from amends.governor.models.recipes import read_recipe
from amends.governor.work.piece import Result, Work, stopper
from amends.governor.work.running import Built, Step, finish, operate
from amends.governor.workspace import Workspace
from amends.ledger import inventory, lineage
from amends.operation.files import REFERENCE
from amends.records import Records
from amends.store.trees import Manifest, fetch_manifest

if TYPE_CHECKING:
    from amends.ledger.lineage import Version

Recorded = Mapping[str, Any]


@dataclass(frozen=True)
class Place:
    """Where a recipe is entered anew.

    Args:
        index: The first step that learnt from what goes.
        start: The first step that runs again; an earlier one, where no version stands between.
        tree: The version to begin from.
        state: The lineage's state that is handed on: of the version to begin from, or of what the step made.
        key_name: Name of the key that encrypts the state.
        before: The version that the step began from; empty where it is gone.
    """

    index: int
    start: int
    tree: str
    state: Mapping[str, str]
    key_name: str
    before: str = ""


@dataclass(frozen=True)
class Run:
    """A step as the recipe shall show it, and as it is run."""

    recorded: Step
    run: Step


@dataclass(frozen=True)
class Replayed:
    """What running steps one after another gave: the last version, and the trees of those before it."""

    built: Built
    between: tuple[str, ...] = field(default=())


def work_name(model: str) -> str:
    """Return the name of the key that encrypts a model's lineage state."""
    return f"lineage-{model}"


def state_beside(workspace: Workspace, model: str, digest: str) -> tuple[dict[str, str], str]:
    """Return the state blobs that a lineage keeps beside a version, and the name of the key that opens them."""
    with workspace.database.read() as connection:
        state = inventory.state_of(connection, digest)
    blobs = {name: blob.blob for name, blob in state.items()}
    return blobs, next((blob.key_name for blob in state.values()), work_name(model))


def rebuilds_itself(workspace: Workspace, operation: str) -> bool:
    """Whether an operation, run again on the version before it, gives what it would have given without some records."""
    declared = workspace.host.operations.get(operation)
    return declared is not None and declared.rebuilds == operation


def first_touched(steps: Sequence[Recorded], held: set[str]) -> int:
    """Return the first step of a recipe that read any of these data sets, 0 where none did."""
    return next((i for i, step in enumerate(steps) if held & set(step["records"].values())), 0)


def find_place(workspace: Workspace, parent: str, held: set[str]) -> Place:
    """Find where to enter the recipe of a version that learnt from data sets.

    A step that rebuilds itself begins from the version before it, or from the last one before that which still
    stands. Any other goes on from the version that it made, whose state has its checkpoints, or else from the one that
    it began from: a rebuilt version of several steps has no version of its first ones beside it.

    Raises:
        Denied: Neither stands any more.
    """
    with workspace.database.read() as connection:
        itself = lineage.by_digest(connection, parent)
        steps = itself[0].recipe.get("steps", [])
        alive = [v for v in (*itself, *lineage.ancestors(connection, parent)) if v.status != "purged"]
        index = first_touched(steps, held)
        own = bool(steps) and rebuilds_itself(workspace, steps[index]["operation"])
        standing = _prefixes(alive, steps) if own else {len(v.recipe.get("steps", [])): v for v in reversed(alive)}
        made, began = (None if own else standing.get(index + 1)), standing.get(index)
        earlier = [length for length in standing if length <= index] if own else []
        if made is None and began is None and not earlier:
            raise Denied("the version that learnt from these records is gone; retrain the model from its base")
        start = max(earlier) if own else index
        source = standing[start] if own else (made or began)
        assert source is not None
        holder = source.digest if own else made.digest if made else parent
    state, key_name = state_beside(workspace, itself[0].model, holder)
    return Place(index, start, source.digest, state, key_name, began.digest if began is not None else "")


def from_before(workspace: Workspace, place: Place) -> Place:
    """Return a place that begins where the step began, if the version that it made has weights of its own.

    Such a version no longer holds what it was trained from: whatever runs the step again needs the one before it, and
    goes on from the checkpoints in the state.

    Raises:
        Denied: The version before it is gone.
    """
    if is_reference(workspace, place.tree):
        return place
    if not place.before:
        raise Denied("the version that this model was trained from is gone; import it again and train anew")
    return replace(place, tree=place.before)


def is_reference(workspace: Workspace, tree: str) -> bool:
    """Whether a version stands on the weights of another."""
    return f"model/{REFERENCE}" in fetch_manifest(workspace.blobs, tree).files


def _prefixes(alive: Sequence[Version], steps: Sequence[Recorded]) -> dict[int, Version]:
    """Return the versions whose recipes these steps begin with, by the number of their steps."""
    found = {}
    for version in reversed(alive):
        done = list(version.recipe.get("steps", []))
        if done == list(steps[: len(done)]):
            found[len(done)] = version
    return found


def again(step: Recorded, rewritten: Mapping[str, Mapping[str, str]]) -> Step:
    """Return a recipe's step with the data sets that stand for its own now."""
    records = {name: rewritten.get(digest, {}).get("train", digest) for name, digest in step["records"].items()}
    return Step(step["operation"], records, step["parameters"], step["seed"], step.get("models", {}))


def remaining(workspace: Workspace, steps: Sequence[Recorded], prepared: Result, start: int) -> list[tuple[int, Step]]:
    """Return the steps from one on that have something left to do, numbered, with the data sets as they are now."""
    gone = left_out(workspace, steps, prepared)
    later = [(number, again(step, prepared["datasets"])) for number, step in enumerate(steps)]
    return [(number, step) for number, step in later if number >= start and number not in gone]


def left_out(workspace: Workspace, steps: Sequence[Recorded], prepared: Result) -> tuple[int, ...]:
    """Return the steps that have nothing left to do: they rebuild themselves, and what they need of data is empty."""
    rewritten = prepared["datasets"]
    empty = {old for old, blobs in rewritten.items() if not workspace.blobs.get(blobs["train"])}
    return tuple(i for i, step in enumerate(steps) if empty and _is_idle(workspace, step, empty))


def _is_idle(workspace: Workspace, step: Recorded, empty: set[str]) -> bool:
    if not rebuilds_itself(workspace, step["operation"]):
        return False
    declared = workspace.host.operations[step["operation"]].parameters
    needed = {parameter.name for parameter in declared if parameter.kind is Records and parameter.is_required}
    return any(name in needed and digest in empty for name, digest in step["records"].items())


def replay(
    workspace: Workspace, work: Work, key: str, place: Place, runs: Sequence[Run], recipe: Recorded, fresh: bool = False
) -> Replayed:
    """Run steps one after another, each on what the one before it made; nothing to run leaves the version as it is.

    Args:
        workspace: Where to run them.
        work: What they are run for.
        key: The idempotency key of the first; the others count on from it.
        place: Where to begin.
        runs: The steps.
        recipe: The recipe before the first of them.
        fresh: Run each in a new process with an empty cache.
    """
    if not runs:
        return Replayed(as_it_is(workspace, place.tree))
    start = partial(operate, workspace, lineage=place.key_name, fresh=fresh)
    built, between = None, []
    for number, step in enumerate(runs):
        name, source = (f"{key}-{number}", built.digest) if built else (key, place.tree)
        state = _handed(workspace, step.run.operation, place, built)
        handle = start(name, step.run, source=source, state=state)
        told = finish(workspace, handle, step.recorded, built.recipe if built else recipe, stopper(workspace, work))
        if built is not None:
            between.append(built.digest)
            seconds, kept = built.seconds + told.seconds, {**built.state, **told.state}
            told = Built(told.digest, kept, told.fingerprint, seconds, told.recipe)
        built = told
    assert built is not None
    return Replayed(built, tuple(between))


def _handed(workspace: Workspace, operation: str, place: Place, built: Built | None) -> Mapping[str, str]:
    """Return the state that a step is handed: what stood there, and later all that the step before it left behind.

    Only a step that rebuilds itself goes on from another's state; any other made its own, from nothing.
    """
    if built is None:
        return place.state
    return built.state if rebuilds_itself(workspace, operation) else {}


def as_it_is(workspace: Workspace, digest: str) -> Built:
    """Return a version that stays as it is, as if it had just been built."""
    recipe = read_recipe(workspace, digest)
    return Built(digest, {}, dict(recipe["steps"][-1]["fingerprint"]) if recipe["steps"] else {}, 0.0, recipe)


def clean_source(workspace: Workspace, rebuilt: str, began: str) -> str:
    """Store a rebuilt version without anything that the rebuild wrote: no byte of it ever saw the records."""
    after, before = fetch_manifest(workspace.blobs, rebuilt), fetch_manifest(workspace.blobs, began)
    untouched = {name: entry for name, entry in after.files.items() if before.files.get(name) == entry}
    indexes = {name: e for name, e in after.files.items() if name.endswith(".json") and name not in untouched}
    return str(workspace.blobs.put_bytes(Manifest({**untouched, **indexes}).to_bytes()))
