"""What travels to a worker and what comes back: names, digests and numbers, as JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from amends.errors import BadInput
from amends.records import Reading

_READINGS = ("readings", "before")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,119}")


@dataclass(frozen=True)
class Job:
    """One run of an operation or a probe, by name; never code.

    Args:
        id: Chosen by the governor: letters, digits, dashes and underscores.
        kind: What `name` is.
        name: The operation or probe, or several probes with commas between them, which share one loaded model.
        plugin_version: The version of the distribution that offers it here; the worker must have the same. One for
            all, or one for each of several probes, with commas between them.
        blobs_uri: Where bytes come from and go to, as any machine understands it (`Blobs.uri`).
        parameters: Scalars; for kind `probes` the scalars of each probe by its name.
        records: Digest of the records' file, by parameter.
        record_keys: What opens records that are sealed: keys in hex by their names, treated as `state_key` is.
        models: Tree digest of a version, by parameter.
        source: Tree digest of the version to change or to measure.
        reference: Tree digest of the version that a probe compares with.
        before: Tree digest of a second version for the same probes to read, as it was before a change.
        seed: The only source of randomness.
        cpus: Cores to claim; also the number of threads.
        gpus: GPUs to claim where the cluster has any: a fraction below 1, or whole.
        memory_gb: Memory to claim.
        state: Digest of each sealed blob of the lineage, by name.
        state_key: The lineage's AES-256 key in hex; never printed, and written only where a worker reads it.
        fresh: Run in a new process with an empty cache.
    """

    id: str
    kind: Literal["operation", "probe", "probes"]
    name: str
    plugin_version: str
    blobs_uri: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    records: Mapping[str, str] = field(default_factory=dict)
    record_keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    models: Mapping[str, str] = field(default_factory=dict)
    source: str | None = None
    reference: str | None = None
    before: str | None = None
    seed: int = 0
    cpus: int = 1
    gpus: float = 0
    memory_gb: float = 1.0
    state: Mapping[str, str] = field(default_factory=dict)
    state_key: str = field(default="", repr=False)
    fresh: bool = False

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise BadInput(f"{self.id[:80]!r} is not a job's id; use letters, digits, dashes and underscores")
        if self.kind not in ("operation", "probe", "probes"):
            raise BadInput(f"{self.kind!r} is no kind of job; it is an operation, a probe, or probes")
        if self.cpus < 1 or not self.memory_gb > 0:
            raise BadInput(f"{self.name} must claim at least one CPU and some memory; correct its declaration")
        if not (math.isfinite(self.gpus) and self.gpus >= 0):
            raise BadInput(f"{self.name} claims {self.gpus} GPUs; claim 0, a fraction below 1, or a whole number")

    def to_json(self, *, with_key: bool = False) -> str:
        """Return the job as JSON, without the keys unless a worker is to read it."""
        body = asdict(self)
        if not with_key:
            del body["state_key"], body["record_keys"]
        return json.dumps(body, sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Job:
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))


@dataclass(frozen=True)
class JobResult:
    """What one attempt of a job gave.

    Args:
        job: The job's id.
        fence: The attempt that was taken; what others wrote is dropped.
        output: Tree digest of what an operation wrote.
        readings: What the probes read.
        before: What they read on the version before the change.
        state: The lineage's blobs afterwards.
        seconds: Time on the clock.
        cpu_seconds: Time on the cores, of the process and the children it waited for.
        threads: Threads that torch was given.
        fingerprint: The stack it ran on.
        node: The machine it ran on.
    """

    job: str
    fence: str
    output: str | None = None
    readings: tuple[Reading, ...] = ()
    before: tuple[Reading, ...] = ()
    state: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    threads: int = 1
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    node: str = ""

    def to_json(self) -> str:
        """Return the result as JSON; numbers that are not finite become strings."""
        body = {f.name: getattr(self, f.name) for f in fields(self)}
        body |= {name: [reading_to_json(reading) for reading in getattr(self, name)] for name in _READINGS}
        return json.dumps(body, sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> JobResult:
        """Read what `to_json` wrote."""
        body = json.loads(text)
        return cls(**body | {name: tuple(reading_from_json(found) for found in body[name]) for name in _READINGS})


def reading_to_json(reading: Reading) -> dict[str, Any]:
    """Return a reading as JSON values; NaN and infinity become strings."""
    return {name: _number_out(value) for name, value in asdict(reading).items()}


def reading_from_json(body: Mapping[str, Any]) -> Reading:
    """Read what `reading_to_json` returned."""
    numbers = {name: float(body[name]) for name in ("value", "low", "high", "power") if body.get(name) is not None}
    return Reading(**{**body, **numbers})


def _number_out(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
