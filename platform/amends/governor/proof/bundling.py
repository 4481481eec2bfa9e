"""Pack what an outside party needs to verify one case offline.

The bundle of the whole log (`amends audit export`) has every case's entries; this one has those of one case, each with
its proof under a signed root, so that nothing of other cases leaves the house.
"""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amends.errors import BadInput
from amends.governor.models.quarantine import refuse_quarantined
from amends.governor.proof import standalone
from amends.governor.proof.certificates import ENVELOPE, PAGE
from amends.governor.workspace import Workspace
from amends.ledger import approvals, audit, cases, checkpoints, decisions, lineage
from amends.ledger.actions import Action
from amends.policy.evidence import verdict_to_json
from amends.records import AuditEntry, canonical_json
from amends.vault import signing

if TYPE_CHECKING:
    from sqlalchemy import Connection

SCHEMA = 1
READERS = ("auditor", "dpo", "operator")
SHOWN = ("id", "kind", "model", "outcome", "regime", "requester", "plan_digest")


def export_bundle(workspace: Workspace, id: str, file: Path) -> dict[str, Any]:
    """Write the bundle of a case, whole or not at all; the audit log names its evidence.

    Raises:
        UnknownCase: There is none of that id.
        BadInput: The file cannot be written.
        Denied: Who acts neither answers requests nor audits, or the version that it is about is quarantined.
        Tampered: The log is not what was signed.
    """
    actor = workspace.require_role(*READERS)
    with workspace.database.read() as connection:
        _refuse_quarantined(workspace, connection, id)
        files = _evidence(connection, id) | _certificate(workspace, id)
        lead = str(cases.detail(connection, id).get("lead", id))
    evidence = standalone.evidence_digest(files)
    with workspace.database.transaction() as connection:
        body = {"case": id, "evidence": evidence}
        workspace.record(connection, f"{id}:bundle:{evidence[:32]}", Action.CASE_BUNDLED, body, actor.id)
        made = checkpoints.checkpoint(connection, workspace.keyring)
        mine = [entry for entry in audit.entries(connection) if id in entry.id or lead in entry.id]
        files |= _chain(connection, mine, made)
    files |= {f"public-keys/{key}.pem": pem.encode() for key, pem in workspace.keyring.public_keys().items()}
    files["verify.py"] = Path(standalone.__file__).read_bytes()
    manifest = _manifest(files, id)
    envelope = canonical_json(signing.sign(workspace.keyring, standalone.MANIFEST_TYPE, canonical_json(manifest)))
    _write(file.expanduser().absolute(), {standalone.MANIFEST: envelope, **files})
    return {"file": str(file), "case": id, "files": len(files) + 1, "entries": len(mine), "root": made.root,
            "signed": made.size, "evidence": evidence}  # fmt: skip


def _refuse_quarantined(workspace: Workspace, connection: Connection, id: str) -> None:
    """Refuse a case that made or promoted a version which is set aside: its evidence may be about other bytes."""
    case, lead = cases.get(connection, id), str(cases.detail(connection, id).get("lead", id))
    about = [found for found in lineage.versions_of(connection, case.model) if found.case_id == lead]
    candidate = (case.plan or {}).get("candidate")
    if candidate is not None:
        about.append(lineage.get(connection, case.model, int(candidate["version"])))
    for version in about:
        refuse_quarantined(workspace, version)


def _evidence(connection: Connection, id: str) -> dict[str, bytes]:
    """Return a case, its approvals, versions, decisions and readings; no person but staff, and those by their ids."""
    case, beside = cases.get(connection, id), cases.detail(connection, id)
    lead = str(beside.get("lead", id))
    judged = decisions.find(connection, lead)
    told = {
        **{name: getattr(case, name) for name in SHOWN},
        **{"status": str(case.status), "lead": lead, "quorum": beside["quorum"]},
        **{"received_at": case.received_at.isoformat(), "due_at": case.due_at.isoformat()},
    }
    versions = [found for found in lineage.versions_of(connection) if found.case_id == lead]
    return {
        "case.json": canonical_json(told),
        "approvals.json": canonical_json(list(_approvals(connection, id))),
        "versions.json": canonical_json([_version(version) for version in versions]),
        "decisions.json": canonical_json([_decision(found) for found in judged]),
        "readings.json": canonical_json(_readings(judged)),
        **{f"policies/{found.policy_digest}.yaml": found.policy_text.encode() for found in judged},
    }


def _approvals(connection: Connection, case: str) -> Iterator[dict[str, Any]]:
    for given in approvals.history(connection, case):
        yield {
            **{"person": given.person, "role": str(given.role), "decision": given.decision},
            **{"plan_digest": given.plan_digest, "at": given.at.isoformat()},
            "voided_at": None if given.voided_at is None else given.voided_at.isoformat(),
        }


def _version(found: lineage.Version) -> dict[str, Any]:
    promised = None if found.guarantee is None else str(found.guarantee)
    return {"model": found.model, "version": found.number, "digest": found.digest, "guarantee": promised,
            "status": found.status}  # fmt: skip


def _decision(found: decisions.Decision) -> dict[str, Any]:
    return {
        **{"id": found.id, "case": found.case_id, "policy": found.policy, "policy_digest": found.policy_digest},
        **{"inputs": dict(found.inputs), "verdict": verdict_to_json(found.verdict), "at": found.at.isoformat()},
    }


def _readings(judged: tuple[decisions.Decision, ...]) -> dict[str, Any]:
    """Return what the last decision that was about a candidate's own evidence saw."""
    seen = [found for found in judged if found.inputs.get("after")]
    last = next((found for found in reversed(seen) if found.policy != "promotion"), seen[-1] if seen else None)
    if last is None:
        return {"decision": None, "before": [], "after": []}
    return {"decision": last.id, "before": last.inputs["before"], "after": last.inputs["after"]}


def _certificate(workspace: Workspace, id: str) -> dict[str, bytes]:
    folder = workspace.home / "certificates"
    if not (folder / f"{id}{ENVELOPE}").exists():
        return {}
    return {f"certificate/{id}{ending}": (folder / f"{id}{ending}").read_bytes() for ending in (ENVELOPE, PAGE)}


def _chain(connection: Connection, mine: list[AuditEntry], made: checkpoints.Checkpoint) -> dict[str, bytes]:
    proofs = checkpoints.inclusions(connection, [entry.seq for entry in mine])
    return {
        "chain/entries.jsonl": b"".join(canonical_json(asdict(entry)) + b"\n" for entry in mine),
        "chain/proofs.json": canonical_json({str(proof.seq): list(proof.path) for proof in proofs}),
        "chain/checkpoint.json": canonical_json(made.envelope),
    }


def _manifest(files: Mapping[str, bytes], id: str) -> dict[str, Any]:
    case = json.loads(files["case.json"])
    return {
        **{"schema": SCHEMA, "case": id, "plan_digest": case["plan_digest"]},
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": {name: standalone.sha256(data) for name, data in files.items()},
    }


def _write(file: Path, files: Mapping[str, bytes]) -> None:
    """Write a zip file whole or not at all.

    Raises:
        BadInput: It cannot be written.
    """
    try:
        handle, draft = tempfile.mkstemp(prefix=".bundle-", dir=file.parent)
        os.close(handle)
        try:
            with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, data in sorted(files.items()):
                    archive.writestr(name, data)
            os.replace(draft, file)
        finally:
            Path(draft).unlink(missing_ok=True)
    except OSError as error:
        raise BadInput(f"{file} cannot be written ({error.strerror}); name another file") from None
