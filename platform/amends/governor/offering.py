"""What the plugins offer, as plain values; needs no workspace and imports nothing heavy."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from amends import host
from amends.operation import Operation, Parameter, Probe


def plugins() -> list[dict[str, Any]]:
    """Return every plugin, with why it is broken if it is."""
    return [asdict(plugin) for plugin in host.current().plugins]


def operations() -> list[dict[str, Any]]:
    """Return every operation."""
    return [_operation(found) for found in host.current().operations.values()]


def operation(name: str) -> dict[str, Any]:
    """Return one operation with its parameters.

    Raises:
        UnknownOperation: No plugin offers it.
    """
    return _operation(host.current().operation(name))


def probes() -> list[dict[str, Any]]:
    """Return every probe."""
    return [_offered(found) for found in host.current().probes.values()]


def probe(name: str) -> dict[str, Any]:
    """Return one probe with its parameters.

    Raises:
        UnknownProbe: No plugin offers it.
    """
    return _offered(host.current().probe(name))


def _operation(found: Operation) -> dict[str, Any]:
    return {
        **_offered(found),
        "verified_by": list(found.verified_by),
        "accepts": list(found.accepts),
        "whole": list(found.whole),
        "guarantee": None if found.guarantee is None else str(found.guarantee),
        "rebuilds": found.rebuilds or None,
        "needs_source": found.needs_source,
        "removes": found.removes,
    }


def _offered(found: Operation | Probe) -> dict[str, Any]:
    return {
        "name": found.name,
        "summary": found.summary,
        "plugin": host.current().source_of(found.name).name,
        "cpus": found.cpus,
        "gpus": found.gpus,
        "memory_gb": found.memory_gb,
        "parameters": [_parameter(parameter) for parameter in found.parameters],
    }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "type": parameter.kind.__name__,
        "choices": list(parameter.choices),
        "required": parameter.is_required and not parameter.optional,
        "default": None if parameter.is_required else parameter.default,
        "from_case": parameter.is_reference,
    }
