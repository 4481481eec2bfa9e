"""`amends models`: import, list, show, follow, describe in a passport, export and prune."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from amends.cli.output import Screen, writing
from amends.cli.quarantine import quarantine, release
from amends.cli.recipients import COMMANDS
from amends.cli.tables import Table, coloured
from amends.cli.verbs import group

COLOURS = {"quarantined": "red", "sealed": "yellow", "purged": "red"}

models = group("models", "Import, list, show, follow, describe, export and prune models.")
for _command in COMMANDS:
    models.add_command(_command)


@models.verb("import", example="amends models import smollm2")
@click.argument("source")
@click.option("--name", default="", help="The model's name; by default the last part of SOURCE.")
@click.option("--licence", default="", help="Its licence, where the source does not say.")
@click.option("--parent", default="", metavar="MODEL@VERSION", help="What it was trained from: declared, not observed.")
@click.option(
    "--trained-on", multiple=True, metavar="DATA@DIGEST", help="Data that went into it: declared. Repeatable."
)
def import_model(
    screen: Screen, source: str, name: str, licence: str, parent: str, trained_on: tuple[str, ...]
) -> None:
    """Import a base model: smollm2, a local Hugging Face directory, or a hub id."""
    from amends.governor.models import importing

    with screen.workspace() as workspace:
        version = importing.import_model(
            workspace, source, name=name, licence=licence, parent=parent, trained_on=trained_on
        )
    document = {"model": version.name, "version": version.version, "digest": version.digest}
    screen.show(document, f"{version} is registered, digest {version.digest}")


@models.verb("list", example="amends models list assistant")
@click.argument("model", required=False)
def list_models(screen: Screen, model: str | None) -> None:
    """List the versions of all models, or of one."""
    from amends.governor.models.importing import versions

    with screen.workspace() as workspace:
        found = versions(workspace, model)
    rows = [
        (
            f"{v['model']}@{v['version']}",
            ", ".join(v["aliases"]),
            coloured(v["status"], COLOURS),
            v["guarantee"],
            v["digest"][:12],
        )
        for v in found
    ]
    empty = "there is no model yet; see amends models import --help"
    screen.show(found, Table(("version", "aliases", "status", "guarantee", "digest"), rows, empty))


@models.verb("show", example="amends models show assistant@champion")
@click.argument("reference")
def show(screen: Screen, reference: str) -> None:
    """Show a version: its steps, where it comes from, what went into it and who was given it."""
    from amends.governor import listing
    from amends.governor.models import licences
    from amends.governor.models.quarantine import quarantines

    with screen.workspace() as workspace:
        found = listing.version(workspace, reference)
        found["quarantines"] = quarantines(workspace, found["model"], found["version"])
        along = licences.licences_of(workspace, found["digest"], f"{found['model']}@{found['version']}")
    steps = [(n, step["operation"], step["seed"]) for n, step in enumerate(found["recipe"].get("steps", []), start=1)]
    origins = [
        *((edge["kind"], edge["parent"][:12], edge["evidence"]) for edge in found["parents"]),
        *((f"data ({use['role']})", use["dataset"][:12], use["evidence"]) for use in found["data"]),
    ]
    screen.show(
        {**found, "licences": licences.summary(along)},
        f"{found['model']}@{found['version']} is {found['status']}, aliases: {', '.join(found['aliases']) or 'none'}",
        *_quarantines(found["quarantines"]),
        f"digest: {found['digest']}",
        f"guarantee: {found['guarantee'] or '-'}, private state: {found['state_blobs']} blobs, "
        f"given to: {len(found['recipients'])} recipients",
        f"licence: {along.label.licence.id} ({along.label.licence.family}), conflicts along the lineage: "
        f"{len(along.conflicts)}, not known: {len(along.unknown)}",
        *(f"licence conflict: {sentence}" for sentence in along.conflicts),
        Table(("step", "operation", "seed"), steps, "it has no steps: a base model"),
        Table(("comes from", "digest", "evidence"), origins, "it has no parents"),
    )


@models.verb("history", example="amends models history assistant --alias champion")
@click.argument("model")
@click.option("--alias", default="", help="Only this alias.")
def history(screen: Screen, model: str, alias: str) -> None:
    """Show where a model's aliases stood: who moved them, when, why, on whose approval and under which policy."""
    from amends.governor.models.history import alias_history

    with screen.workspace() as workspace:
        found = alias_history(workspace, model, alias)
    rows = [
        (f"{move['at']:%Y-%m-%d %H:%M}", move["alias"] or f"(version {move['version']})", move["from"], move["to"],
         move["by"], move["reason"], ", ".join(move["approvals"]), (move["policy_digest"] or "")[:12], move["case"])
        for move in found
    ]  # fmt: skip
    columns = ("when", "alias", "from", "to", "by", "why", "approved by", "policy", "case")
    what = f"{model}@{alias}" if alias else f"no alias of {model}"
    screen.show(found, Table(columns, rows, f"{what} {'never' if alias else 'ever'} stood anywhere"))


@models.verb("passport", example="amends models passport assistant@2 --output ./passports")
@click.argument("reference", metavar="MODEL@VERSION")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), help="Write the files into this directory.")
@click.option(
    "--format", "kind", type=click.Choice(("html", "json", "both")), default="both", show_default=True,
    help="A page to read, a CycloneDX 1.6 ML-BOM, or both.",
)  # fmt: skip
def passport(screen: Screen, reference: str, output: Path | None, kind: str) -> None:
    """Write a version's passport: lineage, data, operations, readings, approvals, limits, licences, open questions.

    Without --output it only says what the passport would; with --json, all of it.
    """
    from amends.governor.proof.mlbom import bom_of
    from amends.governor.proof.passport import passport_of
    from amends.governor.proof.sheet import render_passport

    with screen.workspace() as workspace:
        known = passport_of(workspace, reference)
    made = {"html": lambda: render_passport(known), "json": lambda: json.dumps(bom_of(known), indent=2) + "\n"}
    wanted = [one for one in made if output is not None and kind in (one, "both")]
    stem = known["reference"].replace("@", "-")
    texts = {f"{stem}.passport.html" if one == "html" else f"{stem}.cdx.json": made[one]() for one in wanted}
    files = _write(output, texts) if output is not None else []
    along = known["licences"]
    screen.show(
        {"passport": known, "files": files},
        f"{known['reference']}: {len(known['readings']['after'])} readings, {len(known['decisions'])} decisions, "
        f"{len(known['approvals'])} approvals, {len(known['limits'])} known limits",
        f"licence {along['label']}: {len(along['conflicts'])} conflicts, {len(along['unknown'])} not known",
        f"open questions: {len(known['open'])} of {len(known['questions'])}",
        *(f"written: {file}" for file in files),
    )


def _write(directory: Path, texts: Mapping[str, str]) -> list[str]:
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (directory / name).write_text(text, encoding="utf-8")
    return [str(directory / name) for name in texts]


@models.verb("export", example="amends models export assistant@champion ./assistant")
@click.argument("reference")
@click.argument("destination", type=click.Path(file_okay=False, path_type=Path))
def export(screen: Screen, reference: str, destination: Path) -> None:
    """Write base, adapters and a router without names in PEFT's layout, and enter it as a recipient."""
    from amends.governor.models import exporting

    with screen.workspace() as workspace:
        made = exporting.export(workspace, reference, destination)
    size = made["bytes"] / 1e6
    screen.show(
        made, f"{made['version']} is in {destination} ({made['files']} files, {size:.1f} MB); it is a recipient now"
    )


@models.verb("prune", example="amends models prune assistant --keep 3 --dry-run")
@click.argument("model")
@click.option("--keep", type=click.IntRange(1), default=3, show_default=True, help="How many versions to keep.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
def prune(screen: Screen, model: str, keep: int, dry_run: bool) -> None:
    """Delete a model's oldest versions that no alias, case or later version needs."""
    from amends.governor.models import pruning

    with screen.workspace() as workspace:
        gone = pruning.prune(workspace, model, keep, dry_run)
    rows = [(row["version"], row["status"], row["blobs"], f"{row['bytes'] / 1e6:.1f} MB") for row in gone]
    columns = ("would go" if dry_run else "gone", "status", "blobs", "size")
    screen.show(gone, Table(columns, rows, f"nothing of {model} is to be pruned"))


def _quarantines(happened: Sequence[Mapping[str, str]]) -> list[str]:
    return [
        f"{'quarantined' if one['to'] != 'active' else 'released'} on {one['at'][:16]} by {one['by']}: {one['reason']}"
        for one in happened
    ]


models.add_command(quarantine)
models.add_command(release)
