"""Every table of the workspace's database; `triggers.py` holds the rules that columns cannot say.

No column holds a data subject's words: pseudonyms, keyed hashes, digests and one ciphertext per case.
"""

from __future__ import annotations

from amends.ledger.tables.base import metadata
from amends.ledger.tables.cases import approvals, cases, decisions, extensions, near_misses, people, receipts, steps
from amends.ledger.tables.data import copies, dataset_subjects, datasets, subject_index, suppressions
from amends.ledger.tables.log import audit, checkpoints, cursors, schema_version
from amends.ledger.tables.models import alias_history, aliases, edges, recipients, state_blobs, version_data, versions

APPEND_ONLY = (audit, checkpoints, alias_history, decisions, extensions)

__all__ = [
    "APPEND_ONLY",
    "alias_history",
    "aliases",
    "approvals",
    "audit",
    "cases",
    "checkpoints",
    "copies",
    "cursors",
    "dataset_subjects",
    "datasets",
    "decisions",
    "edges",
    "extensions",
    "metadata",
    "near_misses",
    "people",
    "receipts",
    "recipients",
    "schema_version",
    "state_blobs",
    "steps",
    "subject_index",
    "suppressions",
    "version_data",
    "versions",
]
