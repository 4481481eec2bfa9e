"""Delete what held a subject, in every place that lineage names, and search every file for what is left."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amends.errors import TaskFailed
from amends.governor.applying import Result, Work, earlier
from amends.governor.disclosing import disclosure_of
from amends.governor.judging import find_policy
from amends.governor.locating import rows_of
from amends.governor.needles import Needles, build_needles
from amends.governor.planting import planted
from amends.governor.scanning import scan
from amends.governor.scanreport import Opaque
from amends.governor.workspace import Workspace
from amends.ledger import cases, datasets, inventory, lineage, suppression
from amends.ledger.actions import Action
from amends.ledger.lineage import Version
from amends.records import DataSubject, Disclosure, canonical_json, digest_of
from amends.store.trees import fetch_manifest
from amends.vault import subjects
from amends.vault.ciphers import seal as encrypt
from amends.vault.ciphers import unseal

if TYPE_CHECKING:
    from sqlalchemy import Connection

NEEDLES = "needles"
CONTROLS = 3


def seal(workspace: Workspace, work: Work) -> Result:
    """Put the subject on the suppression list and say when the superseded versions go."""
    days = find_policy(workspace, "erasure").purge_after_days
    lists = {
        case: subjects.suppression_entries(workspace.keyring, disclosure_of(workspace, case).identifiers)
        for case in work.cases
    }
    with workspace.database.transaction() as connection:
        due = min(cases.get(connection, case).due_at for case in work.cases)
        for case, entries in lists.items():
            suppression.add(connection, entries, case)
            workspace.record(
                connection, f"{case}:suppressed", Action.SUBJECT_SUPPRESSED, {"identifiers": len(entries)},
                cases.get(connection, case).requester,
            )  # fmt: skip
    after = min(datetime.now(UTC) + timedelta(days=days), due)
    return {"purge_after": after.isoformat()}


def needles_file(workspace: Workspace, case: str) -> Path:
    """Return where a case's needles rest, encrypted under its key, so that a killed purge can go on."""
    return workspace.home / "cases" / f"{case}.{NEEDLES}"


def keep_needles(workspace: Workspace, work: Work) -> None:
    """Write down, encrypted, what to look for, before the records that say it are deleted."""
    prepared = earlier(workspace, work, "prepare")
    forgotten = list(rows_of(workspace, prepared["forget"]))
    retained = [
        row for blobs in prepared["datasets"].values() for blob in blobs.values() for row in rows_of(workspace, blob)
    ]
    tokenizer = _tokenizer(workspace, prepared["parent"]["digest"])
    for case in work.cases:
        file = needles_file(workspace, case)
        if not file.exists():
            found = build_needles(disclosure_of(workspace, case), forgotten, retained, tokenizer)
            controls = _controls(retained, tokenizer)
            value = [found.to_bytes().decode(), *(control.to_bytes().decode() for control in controls)]
            sealed = encrypt(workspace.keyring.case_key(case), "\n".join(value).encode(), NEEDLES)
            file.parent.mkdir(mode=0o700, exist_ok=True)
            partial = file.with_suffix(".partial")
            partial.write_bytes(sealed)
            partial.replace(file)


def _tokenizer(workspace: Workspace, digest: str) -> Any:
    from transformers import AutoTokenizer

    from amends.operation.files import weights_directory

    return AutoTokenizer.from_pretrained(weights_directory(workspace.cache.tree(digest)), local_files_only=True)


def _controls(retained: list[dict[str, Any]], tokenizer: Any) -> list[Needles]:
    """Return what to look for of some living persons, so that a silent scan means something."""
    named: dict[str, str] = {}
    for row in retained:
        for pseudonym, name in zip(row["subjects"], row.get("names", ()), strict=False):
            named.setdefault(pseudonym, name)
    chosen = sorted(named)[:CONTROLS]
    found = []
    for pseudonym in chosen:
        own = [row for row in retained if pseudonym in row["subjects"]]
        others = [row for row in retained if pseudonym not in row["subjects"]]
        disclosure = Disclosure(DataSubject(pseudonym), {"name": (named[pseudonym],)})
        found.append(build_needles(disclosure, own, others, tokenizer))
    return found


def inventory_of(workspace: Workspace, work: Work) -> Result:
    """List everything that is to be deleted, once, so that a killed purge deletes just that when it goes on."""
    keep_needles(workspace, work)
    prepared = earlier(workspace, work, "prepare")
    old = sorted(digest for digest, blobs in prepared["datasets"].items() if digest != blobs["train"])
    with workspace.database.read() as connection:
        held = _held(connection, old)
        gone = {prepared["forget"]}
        gone |= {*old, *(blobs["old_control"] for blobs in prepared["datasets"].values())}
        for version in held:
            gone |= {blob.blob for blob in inventory.state_of(connection, version.digest).values()}
    for version in held:
        gone |= _files_of(workspace, version)
    gone -= _alive(workspace, {(v.model, v.number) for v in held}, set(old))
    return {
        "blobs": sorted(gone),
        "trees": sorted({version.digest for version in held}),
        "versions": [[version.model, version.number] for version in held],
        "datasets": old,
    }


def purge(workspace: Workspace, work: Work) -> Result:
    """Delete data sets, versions, state, caches and the stores' parts; running it again deletes what is left."""
    listed = earlier(workspace, work, "purge:inventory")
    evidence: dict[str, Any] = {"stores": {}}
    evidence["versions"] = [workspace.registry.purge_version(model, number) for model, number in listed["versions"]]
    for digest in listed["blobs"]:
        workspace.blobs.delete(digest)
    everywhere = [*listed["blobs"], *listed["trees"]]
    workspace.cache.purge(everywhere)
    evidence["nodes"] = {node: len(went) for node, went in workspace.scheduler.purge(everywhere).items()}
    for case in work.cases:
        disclosure = disclosure_of(workspace, case)
        for store in workspace.host.stores(workspace):
            erased = sum(finding.count for finding in store.erase(disclosure))
            evidence["stores"][store.name] = evidence["stores"].get(store.name, 0) + erased
    _forget_in_ledger(workspace, work, listed)
    return {**evidence, "blobs": len(listed["blobs"]), "datasets": len(listed["datasets"])}


def _held(connection: Connection, old: list[str]) -> list[Version]:
    """Return the versions that learnt from the old data sets, and what came of them, the new one left out."""
    found: dict[tuple[str, int], Version] = {}
    for version in lineage.versions_trained_on(connection, old):
        found[version.model, version.number] = version
        for below in lineage.descendants(connection, version.digest):
            found[below.model, below.number] = below
    return [version for _, version in sorted(found.items()) if str(version.status) != "purged"]


def _files_of(workspace: Workspace, version: Version) -> set[str]:
    manifest = fetch_manifest(workspace.blobs, version.digest)
    return {version.digest, *(entry.sha256 for entry in manifest.files.values())}


def _alive(workspace: Workspace, held: set[tuple[str, int]], old: set[str]) -> set[str]:
    """Return the digests that a living version, its state or a living data set still needs."""
    needed: set[str] = set()
    with workspace.database.read() as connection:
        for version in lineage.versions_of(connection):
            if (version.model, version.number) not in held and str(version.status) != "purged":
                needed |= _files_of(workspace, version)
                needed |= {blob.blob for blob in inventory.state_of(connection, version.digest).values()}
        for dataset in datasets.find(connection):
            if dataset.digest not in old and dataset.status != "purged":
                needed |= {dataset.digest, str(dataset.settings["control"])}
    return needed


def _forget_in_ledger(workspace: Workspace, work: Work, listed: Result) -> None:
    with workspace.database.transaction() as connection:
        for digest in listed["trees"]:
            inventory.remove_state(connection, digest)
        for model, number in listed["versions"]:
            if str(lineage.get(connection, model, number).status) != "purged":
                lineage.set_status(connection, model, number, "purged")
        for digest in listed["datasets"]:
            datasets.set_status(connection, digest, "purged")
        for case in work.cases:
            found = cases.get(connection, case)
            datasets.remove_subject(connection, found.subject.pseudonym)
            body = {"versions": [f"{m}@{n}" for m, n in listed["versions"]], "datasets": listed["datasets"]}
            workspace.record(connection, f"{case}:purged", Action.CASE_PURGED, body, found.requester)
    workspace.database.vacuum()


def scan_workspace(workspace: Workspace, work: Work) -> Result:
    """Search every file of the workspace, the artifact store and the scheduler's session for each subject.

    Raises:
        TaskFailed: Something is left, or could not be read.
    """
    reports: dict[str, Any] = {}
    for case in work.cases:
        key = workspace.keyring.case_key(case)
        lines = unseal(key, needles_file(workspace, case).read_bytes(), NEEDLES).decode().split("\n")
        wanted, *controls = [Needles.from_bytes(line.encode()) for line in lines]
        with planted(workspace.home / "cases" / f"{case}.controls", controls):
            report = scan(
                _roots(workspace),
                wanted,
                controls,
                place_key=key,
                known_public=_public(workspace),
                opaque=_sealed(workspace),
            )
        reports[case] = report.summary()
        _keep_report(workspace, case, report.to_json())
        if not report.is_clean:
            left = sum(hit.count for hit in report.hits)
            raise TaskFailed(
                f"the scan found the subject in {left} places and could not read {len(report.unreadable)}; "
                f"see {workspace.home / 'cases' / f'{case}.scan.json'}, then retry the case"
            )
    return {"reports": reports}


def _keep_report(workspace: Workspace, case: str, report: Mapping[str, Any]) -> None:
    (workspace.home / "cases" / f"{case}.scan.json").write_bytes(canonical_json(report))
    with workspace.database.transaction() as connection:
        found = cases.get(connection, case)
        digest = digest_of(report)
        body = {"report": digest, "clean": bool(report["is_clean"])}
        workspace.record(connection, f"{case}:scanned:{digest[:16]}", Action.CASE_SCANNED, body, found.requester)


def _roots(workspace: Workspace) -> dict[str, Path]:
    roots = {"workspace": workspace.home}
    artifacts = Path(workspace.settings.artifacts)
    if artifacts.is_dir() and not artifacts.is_relative_to(workspace.home):
        roots["artifacts"] = artifacts
    session = workspace.scheduler.session_directory
    if session is not None and session.exists():
        roots["scheduler"] = session
    return roots


def _public(workspace: Workspace) -> set[str]:
    """Return the digests of the imported bases' files: anyone can have those."""
    with workspace.database.read() as connection:
        bases = [v for v in lineage.versions_of(connection) if not v.recipe.get("steps") and str(v.status) != "purged"]
        bases = [v for v in bases if not lineage.data_of(connection, v.digest)]
    return {
        entry.sha256
        for version in bases
        for name, entry in fetch_manifest(workspace.blobs, version.digest).files.items()
        if name.startswith("model/")
    }


def _sealed(workspace: Workspace) -> dict[str, Opaque]:
    """Return the encrypted state of living versions, and the key that each needs."""
    with workspace.database.read() as connection:
        found = [
            blob
            for version in lineage.versions_of(connection)
            for blob in inventory.state_of(connection, version.digest).values()
        ]
    return {blob.blob: Opaque(blob.key_name, is_destroyed=False) for blob in found}
