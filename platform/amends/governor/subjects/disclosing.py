"""Open what only a case's key opens: the subject's identifiers, and what people wrote about near misses."""

from __future__ import annotations

from amends.errors import AmendsError, BadInput
from amends.governor.workspace import Workspace
from amends.ledger import cases
from amends.records import DataSubject, Disclosure
from amends.vault import ciphers
from amends.vault.disclosures import open_disclosure, seal_disclosure

REASON = "reason"


def disclosure_of(workspace: Workspace, case: str) -> Disclosure:
    """Return the identifiers that a case was opened with.

    Raises:
        BadInput: They were shredded, or were never kept.
    """
    with workspace.database.read() as connection:
        sealed = cases.ciphertext(connection, case)
    if sealed is None:
        raise BadInput(f"the identifiers of case {case} are shredded; open a new request")
    return open_disclosure(workspace.keyring.case_key(case), sealed)


def seal(workspace: Workspace, case: str, subject: DataSubject, identifiers: dict[str, tuple[str, ...]]) -> bytes:
    """Encrypt identifiers under a new key of the case."""
    sealed: bytes = seal_disclosure(workspace.keyring.new_case_key(case), Disclosure(subject, identifiers))
    return sealed


def seal_reason(workspace: Workspace, case: str, reason: str) -> str:
    """Encrypt a reviewer's reason under the case's key: it may name anybody."""
    return ciphers.seal(workspace.keyring.case_key(case), reason.encode(), REASON).hex()


def open_reason(workspace: Workspace, case: str, sealed: str | None) -> str:
    """Return a reviewer's reason; nothing where there is none, or where the case's key is destroyed."""
    try:
        return ciphers.unseal(workspace.keyring.case_key(case), bytes.fromhex(sealed or ""), REASON).decode()
    except (AmendsError, ValueError):
        return ""
