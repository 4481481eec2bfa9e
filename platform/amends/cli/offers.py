"""`amends plugins`, `amends operations`, `amends probes`: what is installed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from amends.cli.output import Screen
from amends.cli.tables import Marked, Table
from amends.cli.verbs import verb


@verb("plugins", example="amends plugins")
def plugins(screen: Screen) -> None:
    """List the plugins and whether they are sound.

    While one is broken, every operation, probe and review refuses until it is mended or removed.
    """
    from amends.governor import offering

    found = offering.plugins()
    rows = [
        (p["name"], p["distribution"], p["version"], Marked(p["broken"], "red") if p["broken"] else "sound")
        for p in found
    ]
    screen.show(found, Table(("plugin", "from", "version", "state"), rows, "no plugin is installed"))


@verb("operations", example="amends operations training.shards")
@click.argument("name", required=False)
def operations(screen: Screen, name: str | None) -> None:
    """List the operations, or show one with its parameters, resources, probes and guarantee."""
    from amends.governor import offering

    if name is not None:
        found = offering.operation(name)
        guarantee = found["guarantee"] or "it erases nothing"
        verified = f"verified by: {', '.join(found['verified_by'])}"
        accepts = f"accepts attachments: {', '.join(found['accepts']) or 'none'}"
        whole = [f"takes whole: {', '.join(found['whole'])}"] if found["whole"] else []
        screen.show(found, *_heading(found), f"guarantee: {guarantee}", verified, accepts, *whole, _parameters(found))
        return
    known = offering.operations()
    rows = [(o["name"], o["guarantee"], o["cpus"], o["gpus"], o["plugin"], o["summary"]) for o in known]
    screen.show(known, Table(("operation", "guarantee", "cpus", "gpus", "plugin", "what it does"), rows))


@verb("probes", example="amends probes unlearning.membership")
@click.argument("name", required=False)
def probes(screen: Screen, name: str | None) -> None:
    """List the probes, or show one with its parameters."""
    from amends.governor import offering

    if name is not None:
        found = offering.probe(name)
        screen.show(found, *_heading(found), _parameters(found))
        return
    known = offering.probes()
    rows = [(p["name"], p["cpus"], p["plugin"], p["summary"]) for p in known]
    screen.show(known, Table(("probe", "cpus", "plugin", "what it reads"), rows))


def _heading(found: Mapping[str, Any]) -> tuple[str, str]:
    resources = f"{found['cpus']} cpus, {found['gpus']:g} gpus, {found['memory_gb']:g} GB"
    return f"{found['name']} (plugin {found['plugin']}): {found['summary']}", f"needs: {resources}"


def _parameters(found: Mapping[str, Any]) -> Table:
    rows = [(p["name"], _type(p), _default(p)) for p in found["parameters"]]
    return Table(("parameter", "type", "default"), rows, "it has no parameters")


def _type(parameter: Mapping[str, Any]) -> str:
    return "|".join(map(str, parameter["choices"])) or str(parameter["type"])


def _default(parameter: Mapping[str, Any]) -> str:
    if parameter["from_case"]:
        return "given by the case"
    return "required" if parameter["required"] else str(parameter["default"])
