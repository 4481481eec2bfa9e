"""Close a case: the subject's receipt, the last audit entry under a signed root, and a certificate over both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from amends.governor.proof.certificates import ENVELOPE, PAGE, issue
from amends.governor.proof.evidence import Evidence
from amends.governor.subjects.disclosing import disclosure_of
from amends.governor.workspace import Workspace
from amends.ledger import cases, checkpoints, receipts
from amends.ledger.actions import Action
from amends.vault.ciphers import seal, unseal
from amends.vault.receipts import new_receipt

RECEIPT = "receipt"
Entry = Mapping[str, Any]


def receipt_of(workspace: Workspace, case: str) -> tuple[str, str]:
    """Return the subject's nonce and its commitment; the nonce rests encrypted until it is handed over."""
    file = workspace.home / "cases" / f"{case}.{RECEIPT}"
    key = workspace.keyring.case_key(case)
    if not file.exists():
        nonce, commitment = new_receipt(case, disclosure_of(workspace, case).identifiers)
        file.parent.mkdir(mode=0o700, exist_ok=True)
        partial = file.with_suffix(".partial")
        partial.write_bytes(seal(key, f"{nonce} {commitment}".encode(), RECEIPT))
        partial.replace(file)
    nonce, commitment = unseal(key, file.read_bytes(), RECEIPT).decode().split()
    return nonce, commitment


def issued_before(workspace: Workspace, case: str, commitment: str) -> dict[str, str] | None:
    """Return the certificate that a killed process had entered already: there is one, and it stays."""
    with workspace.database.read() as connection:
        known = receipts.find(connection, commitment)
    if known is None:
        return None
    envelope = workspace.home / "certificates" / f"{case}{ENVELOPE}"
    return {"digest": known.certificate, "envelope": str(envelope), "page": str(envelope.with_name(f"{case}{PAGE}"))}


def close_case(workspace: Workspace, case: str, action: Action, body: Entry) -> tuple[Entry, Entry]:
    """Write a case's closing entry, sign a checkpoint over it, and return the entry with its inclusion proof."""
    with workspace.database.transaction() as connection:
        actor = cases.get(connection, case).requester
        entry = workspace.record(connection, f"{case}:closed", action, body, actor)
        made = checkpoints.checkpoint(connection, workspace.keyring)
        proof = checkpoints.inclusion(connection, entry.seq)
    workspace.registry.mirror_checkpoint(made.envelope)
    return asdict(entry), asdict(proof)


def issue_certificate(workspace: Workspace, evidence: Evidence) -> dict[str, str]:
    """Issue a certificate and enter it; returns its digest, and where its two files lie."""
    certificate = issue(evidence, workspace.keyring, workspace.home / "certificates")
    with workspace.database.transaction() as connection:
        receipts.add(connection, evidence.commitment, evidence.case, certificate.digest)
        actor = cases.get(connection, evidence.case).requester
        body = {"certificate": certificate.digest, "title": certificate.title}
        key = f"{evidence.case}:attested:{certificate.digest[:16]}"
        workspace.record(connection, key, Action.CASE_ATTESTED, body, actor)
    workspace.say(f"signed the {certificate.title}: {certificate.page}")
    return {"digest": certificate.digest, "envelope": str(certificate.envelope), "page": str(certificate.page)}
