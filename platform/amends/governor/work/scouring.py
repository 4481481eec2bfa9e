"""Search every file for what is left of a subject, for strings that were written down before they were deleted."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from amends.governor.data.rows import blobs_of, key_name, opened, rows_of
from amends.governor.scan.needles import Needles, build_needles
from amends.governor.scan.planting import planted
from amends.governor.scan.report import Opaque
from amends.governor.scan.scanning import scan
from amends.governor.subjects.disclosing import disclosure_of
from amends.governor.work.piece import OneFailed, Result, Work, earlier
from amends.governor.workspace import Workspace
from amends.ledger import cases, datasets, inventory, journal, lineage
from amends.ledger.actions import Action
from amends.records import DataSubject, Disclosure, canonical_json, digest_of
from amends.store.trees import fetch_manifest
from amends.vault.ciphers import seal, unseal

NEEDLES = "needles"
CONTROLS = 3


def needles_file(workspace: Workspace, case: str) -> Path:
    """Return where a case's needles rest, encrypted under its key, so that a killed purge can go on."""
    return workspace.home / "cases" / f"{case}.{NEEDLES}"


def keep_needles(workspace: Workspace, work: Work) -> None:
    """Write down, encrypted, what to look for, while the records that say it are there."""
    prepared = earlier(workspace, work, "prepare")
    forgotten, (plain, sealed) = list(rows_of(workspace, prepared["forget"])), _retained(workspace)
    tokenizer = _tokenizer(workspace, prepared["parent"]["digest"])
    for case in work.cases:
        file = needles_file(workspace, case)
        found = build_needles(disclosure_of(workspace, case), forgotten, (*plain, *sealed), tokenizer)
        file.parent.mkdir(mode=0o700, exist_ok=True)
        partial = file.with_suffix(".partial")
        partial.write_bytes(seal(workspace.keyring.case_key(case), found.to_bytes(), NEEDLES))
        partial.replace(file)


def drop_needles(workspace: Workspace, work: Work) -> None:
    """Delete what was looked for, now that it was not found: it is personal data itself."""
    for case in work.cases:
        needles_file(workspace, case).unlink(missing_ok=True)


def _retained(workspace: Workspace) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return every record that is kept: what rests in clear, and what rests sealed."""
    with workspace.database.read() as connection:
        kept = [blob for dataset in datasets.find(connection, status="active") for blob in blobs_of(dataset)]
    plain, sealed = list[dict[str, Any]](), list[dict[str, Any]]()
    for blob in kept:
        (sealed if key_name(workspace, blob) else plain).extend(rows_of(workspace, blob))
    return plain, sealed


def _tokenizer(workspace: Workspace, digest: str) -> Any:
    from transformers import AutoTokenizer

    from amends.operation.files import weights_directory

    return AutoTokenizer.from_pretrained(weights_directory(workspace.cache.tree(digest)), local_files_only=True)


def _controls(workspace: Workspace, tokenizer: Any) -> list[Needles]:
    """Return what to look for of some living persons, so that a silent scan means something.

    It is written down in clear while the scan runs, so nothing of it is from records that rest sealed.
    """
    plain, sealed = _retained(workspace)
    named: dict[str, str] = {}
    for row in plain:
        for pseudonym, name in zip(row["subjects"], row.get("names", ()), strict=False):
            named.setdefault(pseudonym, name)
    chosen = sorted(named)[:CONTROLS]
    found = []
    for pseudonym in chosen:
        own = [row for row in plain if pseudonym in row["subjects"]]
        others = [row for row in (*plain, *sealed) if pseudonym not in row["subjects"]]
        disclosure = Disclosure(DataSubject(pseudonym), {"name": (named[pseudonym],)})
        found.append(build_needles(disclosure, own, others, tokenizer))
    return found


def scan_workspace(workspace: Workspace, work: Work) -> Result:
    """Search every file of the workspace, the artifact store and the scheduler's session for each subject.

    Raises:
        OneFailed: Something is left, or could not be read.
    """
    reports: dict[str, Any] = {}
    controls = _controls(workspace, _tokenizer(workspace, _served(workspace, work)))
    for case in work.cases:
        key = workspace.keyring.case_key(case)
        wanted = Needles.from_bytes(unseal(key, needles_file(workspace, case).read_bytes(), NEEDLES))
        with planted(workspace.home / "cases" / f"{case}.controls", controls):
            report = scan(
                _roots(workspace),
                wanted,
                controls,
                place_key=key,
                known_public=_public(workspace),
                opaque=_sealed(workspace),
                openers=_openers(workspace),
            )
        _check_stores(workspace, case)
        reports[case] = report.summary()
        _keep_report(workspace, case, report.to_json())
        if not report.is_clean:
            left = sum(hit.count for hit in report.hits)
            raise OneFailed(
                case,
                f"the scan found the subject in {left} places and could not read {len(report.unreadable)}; "
                f"see {workspace.home / 'cases' / f'{case}.scan.json'}, then retry the case",
            )
    return {"reports": reports}


def _served(workspace: Workspace, work: Work) -> str:
    """Return a version that stays: the new one, or what the request's own model is served with."""
    with workspace.database.read() as connection:
        withdrawn = journal.step_result(connection, work.lead, "withdraw")
    if withdrawn is not None:
        return str(withdrawn["served"])
    return str(earlier(workspace, work, "register")["digest"])


def _check_stores(workspace: Workspace, case: str) -> None:
    """Ask every plugin's store whether it still holds the subject.

    Raises:
        OneFailed: One does.
    """
    disclosure = disclosure_of(workspace, case)
    for store in workspace.host.stores(workspace):
        left = sum(finding.count for finding in store.verify(disclosure))
        if left:
            raise OneFailed(
                case, f"the store {store.name!r} still holds the subject in {left} places; mend it and retry"
            )


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


def _openers(workspace: Workspace) -> dict[str, Callable[[bytes], bytes]]:
    """Return what opens the records of data sets that rest sealed, so that they are searched like any others."""
    with workspace.database.read() as connection:
        alive = [found for found in datasets.find(connection) if found.status != "purged"]
    blobs = [blob for found in alive for blob in blobs_of(found) if key_name(workspace, blob)]
    return dict.fromkeys(blobs, functools.partial(opened, workspace))


def _sealed(workspace: Workspace) -> dict[str, Opaque]:
    """Return the encrypted state of living versions, and the key that each needs."""
    with workspace.database.read() as connection:
        found = [
            blob
            for version in lineage.versions_of(connection)
            for blob in inventory.state_of(connection, version.digest).values()
        ]
    return {blob.blob: Opaque(blob.key_name, is_destroyed=False) for blob in found}
