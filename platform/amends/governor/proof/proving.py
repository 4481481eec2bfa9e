"""Show that the log, a certificate or a receipt is what was written: here, or offline with a public key alone."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from amends.errors import BadInput
from amends.governor.proof.certificates import verify_certificate
from amends.governor.proof.closing import RECEIPT, receipt_of
from amends.governor.workspace import Workspace
from amends.ledger import audit, bundles, cases, checkpoints
from amends.records import CaseStatus
from amends.vault.public import read_public_keys
from amends.vault.receipts import check_receipt


def verify_log(workspace: Workspace) -> dict[str, Any]:
    """Check every link, signature and root of the workspace's own log.

    Raises:
        Tampered: An entry or a checkpoint is not what was written.
    """
    with workspace.database.read() as connection:
        count = audit.verify_chain(connection)
        signed = checkpoints.verify_checkpoints(connection, workspace.keyring.public_keys())
        last = checkpoints.latest(connection)
    return {
        "entries": count,
        "checkpoints": signed,
        "signed": last.size if last else 0,
        "root": last.root if last else None,
    }


def verify_bundle(bundle: Path, public_keys: Mapping[str, str]) -> dict[str, Any]:
    """Check an exported log offline.

    Raises:
        BadInput: The file is no bundle.
        Tampered: It is not what was signed.
    """
    return asdict(bundles.verify_bundle(bundle, public_keys))


def export_log(workspace: Workspace, file: Path) -> dict[str, Any]:
    """Sign a checkpoint and write the log into one file that anybody can verify.

    Raises:
        BadInput: The file cannot be written.
        Tampered: The log is not what was signed.
    """
    workspace.require_role("auditor", "dpo", "operator")
    try:
        with workspace.database.transaction() as connection:
            checkpoints.checkpoint(connection, workspace.keyring)
            made = bundles.export_bundle(connection, file.absolute(), workspace.keyring.public_keys())
    except OSError as error:
        raise BadInput(f"{file} cannot be written ({error.strerror}); name another file") from None
    return {"file": str(file), **asdict(made)}


def public_keys(workspace: Workspace | None, file: Path | None) -> dict[str, str]:
    """Return the keys to verify with: those of a file or directory, else the workspace's own.

    Raises:
        BadInput: There are none.
    """
    if file is not None:
        return read_public_keys(file)
    if workspace is None:
        raise BadInput("there is no workspace here whose keys could be used; give --public-key FILE")
    return workspace.keyring.public_keys()


def export_keys(workspace: Workspace, directory: Path) -> Path:
    """Write every public key that ever signed as a PEM file.

    Raises:
        BadInput: The directory cannot be written.
    """
    try:
        return workspace.keyring.public_directory(directory)
    except OSError as error:
        raise BadInput(f"{directory} cannot be written ({error.strerror}); name another directory") from None


def read_receipt(workspace: Workspace, case: str) -> str:
    """Return the receipt of a closed case, to be given to its subject.

    Raises:
        BadInput: The case has no certificate yet, or its receipt was handed over.
        Denied: Who acts does not answer requests.
    """
    workspace.require_role("requester", "operator", "dpo")
    with workspace.database.read() as connection:
        found = cases.get(connection, case)
    if found.status not in (CaseStatus.COMPLETE, CaseStatus.NEGATIVE) or not _receipt_file(workspace, case).exists():
        raise BadInput(f"case {case} has no receipt to hand over; it is {found.status}, or it was handed over before")
    return receipt_of(workspace, case)[0]


def forget_receipt(workspace: Workspace, case: str) -> None:
    """Delete a receipt that was handed over: from then on its holder alone has it."""
    _receipt_file(workspace, case).unlink(missing_ok=True)


def _receipt_file(workspace: Workspace, case: str) -> Path:
    return workspace.home / "cases" / f"{case}.{RECEIPT}"


def check_certificate_receipt(certificate: Path, keys: Mapping[str, str], given: Mapping[str, Collection[str]]) -> bool:
    """Whether a receipt ties a person to a certificate, which is verified first.

    Args:
        certificate: The envelope or its page.
        keys: Public keys by name.
        given: The person's identifiers by kind, and their `receipt`.

    Raises:
        BadInput: No receipt is given, or it is none.
        Tampered: The certificate is not as it was issued.
    """
    nonces = list(given.get("receipt", ()))
    if len(nonces) != 1:
        raise BadInput("give one receipt, as a line `receipt: …` beside the person's name")
    known = verify_certificate(certificate, keys)
    identifiers = {kind: tuple(values) for kind, values in given.items() if kind != "receipt"}
    return check_receipt(nonces[0], known["case"], identifiers, _commitment(certificate))


def _commitment(certificate: Path) -> str:
    stem = certificate.name.removesuffix(".html").removesuffix(".dsse.json")
    envelope = json.loads(certificate.with_name(f"{stem}.dsse.json").read_bytes())
    return str(json.loads(base64.b64decode(envelope["payload"]))["predicate"]["case"]["commitment"])
