"""The versions of an index in the ledger and in MLflow: digests and counts, no word of it."""

from __future__ import annotations

from amends.governor.workspace import Workspace
from amends.ledger import audit
from amends.ledger.actions import Action
from amends_rag.live import LiveIndex


def is_logged(workspace: Workspace, index: LiveIndex) -> bool:
    """Whether the ledger has the version that an index is at."""
    with workspace.database.read() as connection:
        return audit.count(connection, _key(index)) > 0


def log_version(workspace: Workspace, index: LiveIndex, actor: str) -> None:
    """Write the version that an index is at to the ledger, once, and to MLflow."""
    card = index.card
    if not is_logged(workspace, index):
        known = {"index": index.name, "version": card.version, "manifest": card.manifest, "passages": card.count}
        about = {"encoder": card.settings.encoder_digest, "sources": list(card.sources)}
        with workspace.database.transaction() as connection:
            workspace.record(connection, _key(index), Action.INDEX_CHANGED, {**known, **about}, actor)
    tags = {"amends.digest": card.manifest, "amends.encoder": card.settings.encoder_digest}
    tags |= {f"amends.source.{place}": digest for place, digest in enumerate(card.sources)}
    workspace.registry.log_case(
        f"{index.name}@{card.version}", "indexes", tags=tags, metrics={"passages": card.count}, status="FINISHED"
    )


def _key(index: LiveIndex) -> str:
    return f"index:{index.name}:{index.card.version}:{index.card.manifest[:16]}"
