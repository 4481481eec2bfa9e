"""Open a case's disclosure: the subject's identifiers, in memory only."""

from __future__ import annotations

from amends.errors import BadInput
from amends.governor.workspace import Workspace
from amends.ledger import cases
from amends.records import DataSubject, Disclosure
from amends.vault.disclosures import open_disclosure, seal_disclosure


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
