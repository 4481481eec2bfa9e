"""Where one version comes from, for its passport: its ancestors, the data of all of them, and its steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from amends.governor.models.recipes import base_of
from amends.governor.workspace import Workspace
from amends.ledger import datasets, lineage

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from amends.ledger.lineage import Version

DIGITS = 12  # of a data set's digest, in the picture
SECRET = "_salt"  # parameters that place people, by the end of their names


def origins_of(workspace: Workspace, version: Version) -> dict[str, Any]:
    """Return `history` (what the picture is drawn of), `evidence`, `ancestors`, `data` and `steps` of a version."""
    base = base_of(workspace, version.digest)
    with workspace.database.read() as connection:
        ancestors = list(_ancestors(connection, version))
        used = list(_data(connection, [version, *lineage.ancestors(connection, version.digest)]))
        start = next(iter(lineage.by_digest(connection, base)), None)
    said = {row["evidence"] for row in (*ancestors, *used)}
    return {
        "history": _history(version, None if start is None or start.recipe.get("steps") else start),
        "evidence": "declared" if "declared" in said else "observed",
        "ancestors": ancestors,
        "data": used,
        "steps": [_step(step) for step in version.recipe.get("steps", [])],
        "base": {name: told for name, told in version.recipe.get("base", {}).items() if name in ("source", "sha256")},
    }


def _history(version: Version, start: Version | None) -> dict[str, Any]:
    """Return what `pedigree_svg` draws: a base, and the steps from there to the version."""
    steps = [
        {
            "operation": step["operation"],
            "data": {name: digest[:DIGITS] for name, digest in step.get("records", {}).items()},
        }
        for step in version.recipe.get("steps", [])
    ]
    base = None if start is None else {"name": start.model, "version": start.number, "digest": start.digest}
    own = {"name": version.model, "version": version.number, "digest": version.digest}
    promised = "" if version.guarantee is None else str(version.guarantee)
    return {"base": base, "before": {**own, "steps": steps, "guarantee": promised}, "after": None}


def _ancestors(connection: Connection, version: Version) -> Iterator[dict[str, Any]]:
    """Yield every edge above a version, nearest first; what it was rebuilt from lent no weights, but is named."""
    waiting, seen = [version.digest], set()
    while waiting:
        child = waiting.pop(0)
        if child in seen:
            continue
        seen.add(child)
        for edge in lineage.parents(connection, child):
            for parent in lineage.by_digest(connection, edge.parent)[:1]:
                yield {
                    **{"child": child, "version": str(parent.name), "digest": edge.parent, "kind": edge.kind},
                    **{"evidence": edge.evidence, "operation": edge.operation, "case": edge.case_id},
                    "status": parent.status,
                }
            if edge.kind != "rebuilt-from":
                waiting.append(edge.parent)


def _data(connection: Connection, versions: list[Version]) -> Iterator[dict[str, Any]]:
    for version in {version.digest: version for version in versions}.values():
        for use in lineage.data_of(connection, version.digest):
            found = datasets.get(connection, use.dataset)
            yield {
                **{"name": found.name, "digest": found.digest, "role": use.role, "evidence": use.evidence},
                **{"version": str(version.name), "records": found.records, "subjects": found.subjects},
                **{"controls": found.controls, "status": str(found.status)},
                "licence": str(found.settings.get("licence", "")),
                "registered_at": None if found.registered_at is None else found.registered_at.isoformat(),
            }


def _step(step: dict[str, Any]) -> dict[str, Any]:
    """Return a step of a recipe without what would place people."""
    shown = ("operation", "plugin", "plugin_version", "seed", "records", "fingerprint")
    given = step.get("parameters", {})
    public = {name: value for name, value in given.items() if not name.endswith(SECRET)}
    return {**{name: step.get(name) for name in shown}, "parameters": public}
