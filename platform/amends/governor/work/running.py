"""Run named operations and probes through the scheduler, and write the recipe into what comes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from amends.governor.data.rows import record_keys
from amends.governor.models.recipes import referenced_base, write_recipe
from amends.governor.work.piece import wait
from amends.governor.workspace import Workspace
from amends.operation import Probe
from amends.records import ModelVersion, Records
from amends.store.trees import fetch_manifest

if TYPE_CHECKING:
    from amends.scheduler import Handle


@dataclass(frozen=True)
class Step:
    """One step of a recipe, as it is to be run: names and digests only."""

    operation: str
    records: Mapping[str, str]
    parameters: Mapping[str, Any]
    seed: int
    models: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Built:
    """What running a step gave: the version's tree, its state, and what it took."""

    digest: str
    state: Mapping[str, str]
    fingerprint: Mapping[str, Any]
    seconds: float
    recipe: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return this as a JSON object for a step's journal."""
        return {name: getattr(self, name) for name in ("digest", "state", "fingerprint", "seconds", "recipe")}


def operate(
    workspace: Workspace,
    key: str,
    step: Step,
    *,
    source: str | None,
    state: Mapping[str, str],
    lineage: str,
    fresh: bool = False,
) -> Handle:
    """Start one operation on a version's tree; `finish` turns its result into a candidate.

    Args:
        workspace: Where to run it.
        key: The idempotency key; the job carries it.
        step: What to run.
        source: Tree digest of the version to change; None, or empty, for an operation that makes a new model.
        state: The lineage's state blobs by name.
        lineage: Name of the key that encrypts the state.
        fresh: Run in a new process with an empty cache.

    Raises:
        BadInput: The operation or a parameter cannot be used.
    """
    from amends.scheduler import Job

    operation = workspace.host.operation(step.operation)
    beside = {name: ModelVersion(name, 0, digest) for name, digest in step.models.items()}
    records = {name: Records(digest) for name, digest in step.records.items()}
    checked = operation.check({**step.parameters, **records, **beside})
    job = Job(
        id=key,
        kind="operation",
        name=step.operation,
        plugin_version=workspace.host.source_of(step.operation).version,
        parameters={name: value for name, value in checked.items() if not isinstance(value, Records | ModelVersion)},
        records=dict(step.records),
        record_keys=record_keys(workspace, step.records.values()),
        models=dict(step.models),
        source=source or None,
        seed=step.seed,
        cpus=min(operation.cpus, workspace.settings.cpus),
        gpus=operation.gpus if workspace.settings.gpus else 0,
        memory_gb=operation.memory_gb,
        state=dict(state),
        state_key=workspace.keyring.lineage_key(lineage).hex(),
        fresh=fresh,
        blobs_uri=workspace.settings.blobs,
    )
    return workspace.scheduler.submit(job, workspace.bar)


def finish(
    workspace: Workspace,
    handle: Handle,
    recorded: Step,
    recipe: Mapping[str, Any],
    is_stopped: Callable[[], bool],
) -> Built:
    """Wait for an operation, take its output over and write the recipe into it.

    Args:
        workspace: Where it ran.
        handle: What `operate` returned.
        recorded: The step that the recipe shall show; an erasure reads as if trained without the person.
        recipe: The recipe to extend.
        is_stopped: Says whether nobody wants it any more.

    Raises:
        TaskFailed: The worker gave up for good.
        Cancelled: It was stopped.
    """
    result = wait(handle, is_stopped)
    plugin = workspace.host.source_of(recorded.operation)
    step = {
        "operation": recorded.operation,
        "plugin": plugin.distribution,
        "plugin_version": plugin.version,
        "records": dict(recorded.records),
        "parameters": dict(recorded.parameters),
        "seed": recorded.seed,
        **({"models": dict(recorded.models)} if recorded.models else {}),
        "fingerprint": dict(result.fingerprint),
    }
    told = {**recipe, "steps": [*recipe.get("steps", []), step]}
    digest = write_recipe(workspace, str(result.output), told)
    return Built(digest, dict(result.state), dict(result.fingerprint), result.seconds, told)


def measure(
    workspace: Workspace,
    key: str,
    probes: Mapping[str, Mapping[str, Any]],
    *,
    model: str,
    reference: str | None,
    records: Mapping[str, str],
    seed: int,
    before: str | None = None,
    models: Mapping[str, str] | None = None,
) -> Handle:
    """Start the probes of a policy on one version, and on the one before it; they share what is loaded and scored.

    Args:
        workspace: Where to run them.
        key: The idempotency key.
        probes: Scalar settings by probe name.
        model: Tree digest of the version to measure.
        reference: Tree digest of what to compare with, or None.
        records: Record digests by parameter name; a probe gets those that it asks for.
        seed: Seed of every resampling.
        before: Tree digest of the version before the change, or None.
        models: Tree digests of other versions by parameter name; a probe gets those that it asks for.
    """
    from amends.scheduler import Job

    found = [workspace.host.probe(name) for name in sorted(probes)]
    given = {name: Records(digest) for name, digest in records.items()}
    versions = {name: ModelVersion(name, 0, digest) for name, digest in (models or {}).items()}
    for probe in found:
        wanted = {parameter.name for parameter in probe.parameters if parameter.is_reference}
        beside = {name: one for name, one in {**given, **versions}.items() if name in wanted}
        probe.check({**probes[probe.name], **beside})
    job = Job(
        id=key,
        kind="probes",
        name=",".join(probe.name for probe in found),
        plugin_version=",".join(workspace.host.source_of(probe.name).version for probe in found),
        parameters={name: dict(settings) for name, settings in probes.items()},
        records=dict(records),
        record_keys=record_keys(workspace, records.values()),
        models=_asked(found, models or {}),
        source=model,
        reference=reference,
        before=before,
        seed=seed,
        cpus=min(2, workspace.settings.cpus),
        gpus=0,
        memory_gb=_memory_gb(workspace, found, model, len([tree for tree in (before, reference) if tree is not None])),
        blobs_uri=workspace.settings.blobs,
    )
    return workspace.scheduler.submit(job, workspace.bar)


def _asked(probes: Sequence[Probe], models: Mapping[str, str]) -> dict[str, str]:
    """Return the versions that some probe asks for; nobody has to fetch another."""
    wanted = {one.name for probe in probes for one in probe.parameters if one.kind is ModelVersion}
    return {name: tree for name, tree in models.items() if name in wanted}


def _memory_gb(workspace: Workspace, probes: Sequence[Probe], tree: str, others: int) -> float:
    """Return what probes claim for one model, and the weights of the others that are open beside it."""
    weights = fetch_manifest(workspace.blobs, referenced_base(workspace, tree) or tree).files
    size = sum(entry.size for name, entry in weights.items() if name.endswith(".safetensors")) / 2**30
    return max((probe.memory_gb for probe in probes), default=1.0) + others * size
