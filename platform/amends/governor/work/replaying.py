"""Enter a recipe anew at one step and run it from there on: where to begin, what to run, what comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
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
GONE = "the version that learnt from these records is gone; retrain the model from its base"


@dataclass(frozen=True)
class Place:
    """Where a recipe is entered anew.

    Args:
        index: The first step that learnt from what goes.
        start: The first step that runs again; an earlier one, where no version stands between.
        tree: The version to begin from; empty where the first step makes a new model.
        state: The lineage's state that is handed on: of the version to begin from, or of what the step made.
        key_name: Name of the key that encrypts the state.
        before: The version that the step began from; empty where it is gone.
        is_again: Whether all steps from the first on are just run again, with what stands for their data and their
            teachers now; else the first needs an operation that erases.
    """

    index: int
    start: int
    tree: str
    state: Mapping[str, str]
    key_name: str
    before: str = ""
    is_again: bool = False


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
    """Return the first step of a recipe that read any of these data sets or versions, 0 where none did."""
    return next((i for i, step in enumerate(steps) if held & {*step["records"].values(), *_models(step)}), 0)


def runs_again(workspace: Workspace, step: Recorded, held: set[str]) -> bool:
    """Whether a step needs only to be run again with what stands now for what it learnt from.

    One that rebuilds itself does, and one that has the person from another version alone, such as its teacher.
    """
    is_known = step["operation"] in workspace.host.operations
    is_taught = bool(held & _models(step)) and not held & set(step["records"].values())
    return rebuilds_itself(workspace, step["operation"]) or (is_known and is_taught)


def _models(step: Recorded) -> set[str]:
    return set(step.get("models", {}).values())


def find_place(
    workspace: Workspace, parent: str, held: set[str], replaced: Mapping[str, str] = MappingProxyType({})
) -> Place:
    """Find where to enter the recipe of a version that learnt from data sets, or from versions that did.

    What was made on a version that was replaced goes on from the one that took its place. A step that is just run
    again begins from the version before it, or from the last one before that which still stands. Any other goes on
    from the version that it made, whose state has its checkpoints, or else from the one that it began from: a rebuilt
    version of several steps has no version of its first ones beside it.

    Args:
        workspace: Where the version is.
        parent: Its tree digest.
        held: The data sets.
        replaced: What took the place of versions that held the person.

    Raises:
        Denied: Neither stands any more.
    """
    with workspace.database.read() as connection:
        itself = lineage.by_digest(connection, parent)
        steps = itself[0].recipe.get("steps", [])
        above = lineage.ancestors(connection, parent, without=["teacher"])  # no step began from a teacher
    alive = [v for v in (*itself, *above) if v.status != "purged"]
    touched = held | set(replaced)
    index = first_touched(steps, touched)
    heirs = _prefixes([v for v in above if v.digest in replaced], steps)
    if (ahead := max(heirs, default=0)) > index:
        tree = replaced[heirs[ahead].digest]
        state, key_name = state_beside(workspace, itself[0].model, tree)
        return Place(min(ahead, len(steps) - 1), ahead, tree, state, key_name, tree, is_again=True)
    if steps and runs_again(workspace, steps[index], touched):
        return _place_again(workspace, itself[0].model, steps, index, _prefixes(alive, steps))
    standing = {len(v.recipe.get("steps", [])): v for v in reversed(alive)}
    made, began = standing.get(index + 1), standing.get(index)
    source = made or began
    if source is None:
        raise Denied(GONE)
    state, key_name = state_beside(workspace, itself[0].model, made.digest if made else parent)
    return Place(index, index, source.digest, state, key_name, began.digest if began is not None else "")


def _place_again(
    workspace: Workspace, model: str, steps: Sequence[Recorded], index: int, standing: Mapping[int, Version]
) -> Place:
    """Return where a step that is just run again begins: before itself, or where it makes a new model, from nothing."""
    earlier = [length for length in standing if length <= index]
    began = standing[index].digest if index in standing else ""
    if earlier:
        source = standing[max(earlier)].digest
        state, key_name = state_beside(workspace, model, source)
        return Place(index, max(earlier), source, state, key_name, began, is_again=True)
    first = workspace.host.operations.get(steps[0]["operation"])
    if first is None or first.needs_source:
        raise Denied(GONE)
    return Place(index, 0, "", {}, work_name(model), began, is_again=True)


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


def again(step: Recorded, prepared: Result) -> Step:
    """Return a recipe's step with the data sets and the versions that stand for its own now."""
    rewritten, replaced = prepared["datasets"], prepared.get("models", {})
    records = {name: rewritten.get(digest, {}).get("train", digest) for name, digest in step["records"].items()}
    models = {name: replaced.get(digest, digest) for name, digest in step.get("models", {}).items()}
    return Step(step["operation"], records, step["parameters"], step["seed"], models)


def remaining(workspace: Workspace, steps: Sequence[Recorded], prepared: Result, start: int) -> list[tuple[int, Step]]:
    """Return the steps from one on that have something left to do, numbered, with the data sets as they are now."""
    gone = left_out(workspace, steps, prepared)
    later = [(number, again(step, prepared)) for number, step in enumerate(steps)]
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

    Only a step that rebuilds itself goes on from another's state; any other made its own, from nothing, unless it is
    there to erase.
    """
    if built is None:
        return place.state if not place.is_again or rebuilds_itself(workspace, operation) else {}
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
