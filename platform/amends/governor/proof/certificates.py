"""Issue certificates, a signed in-toto statement beside the page that people read, and verify them offline."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amends.errors import BadInput, Tampered
from amends.governor.proof.evidence import Evidence
from amends.governor.proof.page import render_page
from amends.governor.proof.statements import PREDICATE_TYPE, STATEMENT_TYPE, build_statement, objections_to, subjects_of
from amends.ledger import audit, checkpoints
from amends.records import AuditEntry, Certificate, canonical_json
from amends.vault import signing
from amends.vault.keys import Keyring

PAYLOAD_TYPE = "application/vnd.in-toto+json"
ENVELOPE, PAGE = ".dsse.json", ".html"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SHAPE: Mapping[str, type | tuple[type, ...]] = {
    **{"title": str, "case": dict, "guarantee": (dict, type(None)), "versions": dict, "lineage": str},
    **{"method": (dict, type(None)), "readings": dict, "policy": (dict, type(None)), "approvals": list},
    **{"purge": dict, "suppression": str, "searched": list, "held": list, "outside": list},
    **{"residual_risks": list, "anchor": str, "audit": dict, "page": dict},
}


def issue(evidence: Evidence, keyring: Keyring, directory: Path) -> Certificate:
    """Write `<case>.html` and `<case>.dsse.json`; the same evidence and key give the same bytes.

    The envelope comes last, so that a page without one is a certificate that was never finished.

    Raises:
        BadInput: The evidence does not carry its title, or its proof does not hold.
    """
    if not _NAME.fullmatch(evidence.case):
        raise BadInput(f"case {evidence.case!r} cannot name a file; use letters, digits, dots and dashes")
    statement = build_statement(evidence)
    page = render_page(statement).encode()
    statement["predicate"]["page"] = {
        "name": f"{evidence.case}{PAGE}",
        "sha256": hashlib.sha256(page).hexdigest(),
    }
    try:
        _check_audit(statement["predicate"], keyring.public_keys())
    except Tampered as error:
        raise BadInput(f"case {evidence.case} cannot be attested: {error}") from None
    envelope = canonical_json(signing.sign(keyring, PAYLOAD_TYPE, canonical_json(statement)))
    directory.mkdir(parents=True, exist_ok=True)
    _write(directory / f"{evidence.case}{PAGE}", page)
    _write(directory / f"{evidence.case}{ENVELOPE}", envelope)
    return Certificate(
        evidence.case,
        statement["predicate"]["title"],
        hashlib.sha256(envelope).hexdigest(),
        directory / f"{evidence.case}{ENVELOPE}",
        directory / f"{evidence.case}{PAGE}",
    )


def verify_certificate(path: Path, public_keys: Mapping[str, str]) -> dict[str, Any]:
    """Check a certificate offline and return what it says.

    Args:
        path: The envelope or its page; the other one lies beside it.
        public_keys: PEM public keys by name, as `Keyring.public_keys` or `read_public_keys` give them.

    Returns:
        `title`, `case`, `model`, `guarantee`, `issued_at`, `anchor`, `digest`, and `checks`, one sentence each.

    Raises:
        BadInput: One of the two files is not there.
        Tampered: Anything in them is not as it was issued.
    """
    envelope_file = path.with_name(path.name.removesuffix(PAGE).removesuffix(ENVELOPE) + ENVELOPE)
    data = _read(envelope_file)
    predicate = _signed(data, public_keys)["predicate"]
    contradictions = _contradictions(predicate)
    if contradictions:
        raise Tampered(f"the certificate contradicts itself: {contradictions[0]}")
    page = _read(envelope_file.with_name(predicate["page"]["name"]))
    if hashlib.sha256(page).hexdigest() != predicate["page"]["sha256"]:
        raise Tampered(f"{predicate['page']['name']} is not the page that was signed; fetch it again")
    _check_audit(predicate, public_keys)
    return _answer(predicate, hashlib.sha256(data).hexdigest())


def _signed(data: bytes, public_keys: Mapping[str, str]) -> dict[str, Any]:
    """Return the statement inside an envelope whose signature and shape hold."""
    try:
        envelope = json.loads(data)
    except ValueError:
        raise Tampered("the certificate is no JSON any more; fetch it again from where it was published") from None
    if not isinstance(envelope, dict):
        raise Tampered("the certificate is no envelope any more; fetch it again from where it was published")
    statement = json.loads(signing.verify(envelope, public_keys, PAYLOAD_TYPE))
    if (statement.get("_type"), statement.get("predicateType")) != (STATEMENT_TYPE, PREDICATE_TYPE):
        raise Tampered("the signed statement is of another type; give the file of a certificate")
    predicate = statement.get("predicate", {})
    for name, kind in _SHAPE.items():
        if not isinstance(predicate.get(name), kind) or name not in predicate:
            raise Tampered(f"the signed statement has no proper {name!r}; it was not issued by Amends")
    if statement.get("subject") != subjects_of(predicate["versions"]):
        raise Tampered("the signed statement names other models above than below; it was not issued by Amends")
    return dict(statement)


def _contradictions(predicate: Mapping[str, Any]) -> list[str]:
    try:
        return objections_to(predicate)
    except (BadInput, KeyError, TypeError) as error:
        return [str(error) if isinstance(error, BadInput) else "a part of it is missing"]


def _check_audit(predicate: Mapping[str, Any], public_keys: Mapping[str, str]) -> None:
    """Check that the case's closing entry is whole, names the case, and lies under a signed root."""
    proof, case = predicate["audit"]["inclusion"], predicate["case"]["id"]
    try:
        entry = AuditEntry(**predicate["audit"]["entry"])
    except TypeError:
        raise Tampered("the closing entry of the audit log is incomplete; fetch the certificate again") from None
    if audit.hash_of(entry) != entry.hash or entry.hash != proof.get("hash") or entry.seq != proof.get("seq"):
        raise Tampered("the closing entry of the audit log is not the one that its proof is about")
    if case not in canonical_json([entry.id, entry.body]).decode():
        raise Tampered(f"the closing entry of the audit log does not name case {case}")
    checkpoints.check_inclusion(proof, public_keys)


def _answer(predicate: Mapping[str, Any], digest: str) -> dict[str, Any]:
    guarantee, case, proof = predicate["guarantee"], predicate["case"], predicate["audit"]["inclusion"]
    checks = [
        "The statement is signed by a key that you gave.",
        "Its title is the one that its guarantee allows.",
        "The page beside it is the page that was signed.",
        f"The case's closing entry, number {proof['seq']}, is under the signed root of {proof['size']} audit entries.",
    ]
    if guarantee is not None and guarantee["rebuilt"] and guarantee["rebuilt"] == guarantee["counterfactual"]:
        checks.append("The rebuilt model and the one that never had the records have the same digest.")
    return {
        **{"title": predicate["title"], "case": case["id"], "model": case["model"], "issued_at": case["issued_at"]},
        "guarantee": None if guarantee is None else guarantee["name"],
        **{"anchor": predicate["anchor"], "digest": digest, "checks": checks},
    }


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        raise BadInput(
            f"{path} cannot be read; a certificate is two files, {ENVELOPE} and {PAGE}, side by side"
        ) from None


def _write(path: Path, data: bytes) -> None:
    """Put a file in place whole or not at all."""
    handle, draft = tempfile.mkstemp(prefix=".certificate-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(draft, 0o644)
        os.replace(draft, path)
    except OSError as error:
        Path(draft).unlink(missing_ok=True)
        raise BadInput(f"{path.name} could not be written ({error.strerror}); make room and issue it again") from None
