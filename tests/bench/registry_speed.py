"""How long it takes to compare a registry with the ledger: nothing changed there, every tag edited, put right again."""

from __future__ import annotations

from typing import Any

from figures import Reading, median, read, titled
from harness import Bench, stopwatch

MODEL = "many"
SETTINGS = 'scheduler = "inline"\ncpus = 1\n'
FORGED = "0" * 64


def measure(bench: Bench, few: int, many: int, repeats: int) -> list[Reading]:
    """Compare a few versions and many, in one workspace that grows from the one to the other."""
    from amends.governor.workspace import create_workspace

    home = bench.empty("registry")
    (home / "amends.toml").write_text(SETTINGS, encoding="utf-8")
    workspace, _ = create_workspace(home)
    try:
        _grow(workspace, few)
        beside = _timed(workspace, few, repeats)
        _grow(workspace, many)
        return [*_readings(few, beside), *_readings(many, _timed(workspace, many, repeats), beside)]
    finally:
        workspace.close()


def _grow(workspace: Any, count: int) -> None:
    """Register versions of a few bytes each, by the registry's own call, until there are so many."""
    from amends.governor.models.signatures import sign_version
    from amends.ledger import lineage
    from amends.ledger.lineage import Version
    from amends.store.trees import put_tree, read_manifest

    with workspace.database.read() as connection:
        first = lineage.next_number(connection, MODEL)
    for number in range(first, count + 1):
        recipe = {"schema": 1, "steps": [], "number": number}
        with workspace.cache.scratch("version") as folder:
            (folder / "recipe.json").write_text(f'{{"number":{number}}}', encoding="utf-8")
            digest, manifest = put_tree(workspace.blobs, folder), read_manifest(folder)
            (folder / "MLmodel").write_text("flavors: {}\n", encoding="utf-8")
            made = workspace.registry.register_version(MODEL, folder, manifest, key=f"{MODEL}-{number}")
        sign_version(workspace, digest)
        with workspace.database.transaction() as connection:
            lineage.add_version(connection, Version(MODEL, made.version, digest, recipe))
            about = {"version": str(made.version), "model_id": made.model_id, "run_id": "", "uri": made.uri}
            lineage.set_mlflow(connection, MODEL, made.version, **about)


def _timed(workspace: Any, count: int, repeats: int) -> dict[str, list[dict[str, float]]]:
    from amends.governor.models.reconciling import check_aliases

    taken: dict[str, list[dict[str, float]]] = {"as it was left": [], "every tag edited, told": [], "put right": []}

    def timed(name: str, found: int, is_enforced: bool = False) -> None:
        with stopwatch() as watch:
            report = check_aliases(workspace, is_enforced=is_enforced)
        if len(report.found) != found or len(report.restored) != found * is_enforced:
            raise RuntimeError(f"{len(report.found)} divergences were found where there are {found}")
        taken[name].append({"CPU-s": watch.cpu, "s": watch.wall})

    check_aliases(workspace)  # opens MLflow
    for _ in range(repeats):
        timed("as it was left", 0)
    for number in range(1, count + 1):
        workspace.registry.client.set_model_version_tag(MODEL, str(number), "amends.digest", FORGED)
    timed("every tag edited, told", count)
    timed("put right", count, is_enforced=True)
    return taken


def _readings(count: int, taken: dict[str, Any], beside: dict[str, Any] | None = None) -> list[Reading]:
    readings = []
    for name, runs in taken.items():
        for unit in ("CPU-s", "s"):
            value, among = median([run[unit] for run in runs])
            baseline = None if beside is None else median([run[unit] for run in beside[name]])[0]
            title = titled(f"reconcile {count:,} versions, {name}", unit)
            readings.append(read(title, value, unit, len(runs), among if len(runs) > 1 else None, baseline=baseline))
    return readings
