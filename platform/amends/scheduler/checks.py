"""What a worker checks before it runs a function, and of what the function returns."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from amends.errors import BadInput, BrokenPlugin
from amends.host import Host
from amends.operation import Operation, Probe
from amends.records import Reading, canonical_json
from amends.scheduler.jobs import Job, reading_to_json


def find(job: Job, host: Host) -> list[Operation | Probe]:
    """Return what the job names, if this machine has the plugins at the versions the governor has.

    Raises:
        BrokenPlugin: It has another version.
    """
    names = job.name.split(",") if job.kind == "probes" else [job.name]
    versions = job.plugin_version.split(",")
    if len(versions) == 1:
        versions *= len(names)
    return [_find_one(job.kind, name, version, host) for name, version in zip(names, versions, strict=True)]


def _find_one(kind: str, name: str, version: str, host: Host) -> Operation | Probe:
    found = host.operation(name) if kind == "operation" else host.probe(name)
    plugin = host.source_of(name)
    if plugin.version != version:
        raise BrokenPlugin(
            f"{name} comes from {plugin.distribution} {plugin.version} on this machine and from "
            f"{version} at the governor; install the same version on both"
        )
    return found


def check_source(operation: Operation, source: Path | None) -> None:
    """Refuse a source that the operation cannot change.

    Raises:
        BadInput: There is none, or it carries an attachment that the operation does not accept.
    """
    if source is None:
        if operation.needs_source:
            raise BadInput(f"{operation.name} changes a model; give it a source")
        return
    for kind in attachment_kinds(source):
        if kind not in operation.accepts:
            accepted = ", ".join(operation.accepts) or "none"
            raise BadInput(
                f"{operation.name} cannot change a version that carries the attachment {kind!r} (it accepts "
                f"{accepted}); change the parent from before that attachment, or use an operation that accepts it"
            )


def check_beside(operation: Operation, carried: Mapping[str, Collection[str]], host: Host) -> None:
    """Refuse a version beside the source that carries what the operation would not look at.

    Args:
        operation: What is to run.
        carried: The kinds of attachment that each such version carries, by parameter.
        host: Knows which other operation of the family takes it whole.

    Raises:
        BadInput: Its weights alone are not what the version says.
    """
    for name, kinds in carried.items():
        if kinds and name not in operation.whole:
            family = operation.name.partition(".")[0] + "."
            others = [key for key, other in host.operations.items() if key.startswith(family) and name in other.whole]
            way = f"use {' or '.join(others)}, which takes it whole" if others else "name a version without it"
            raise BadInput(
                f"{operation.name} looks at the weights of its {name} alone, and that carries "
                f"{', '.join(sorted(kinds))} as well; {way}"
            )


def attachment_kinds(version: Path) -> tuple[str, ...]:
    """Return the kinds of attachment that a version carries, in its order and then by name."""
    folder = version / "attachments"
    order = folder / "order.json"
    listed: list[str] = json.loads(order.read_bytes()) if order.exists() else []
    held = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    return tuple(dict.fromkeys([*listed, *held]))


def check_readings(probe: str, given: Any) -> tuple[Reading, ...]:
    """Return what a probe read, as plain numbers; NaN passes, and the policy denies it.

    Raises:
        BadInput: It returned nothing, something else, or a reading under another probe's name.
    """
    if not isinstance(given, Sequence) or not given:
        raise BadInput(f"{probe} returned no reading; a probe returns a list with at least one")
    return tuple(_check_reading(probe, reading) for reading in given)


def _check_reading(probe: str, reading: Any) -> Reading:
    if not isinstance(reading, Reading):
        raise BadInput(f"{probe} returned a {type(reading).__name__}; a probe returns readings")
    if reading.name != probe and not reading.name.startswith(f"{probe}/"):
        raise BadInput(f"{probe} returned a reading named {reading.name!r}; name it {probe}/…")
    value, low, high, power = (
        _number(probe, name, getattr(reading, name)) for name in ("value", "low", "high", "power")
    )
    if value is None:
        raise BadInput(f"{reading.name} has no value; use NaN for what could not be read")
    detail = dict(reading.detail)
    plain = replace(reading, value=value, low=low, high=high, power=power, n=int(reading.n), detail=detail)
    try:
        canonical_json(reading_to_json(plain))
    except (TypeError, ValueError):
        raise BadInput(f"{reading.name} has details that are not JSON; use plain finite values") from None
    return plain


def _number(probe: str, name: str, value: Any) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise BadInput(f"{probe} gave a {type(value).__name__} as {name}; give a number") from None
    return math.nan if math.isnan(number) else number
