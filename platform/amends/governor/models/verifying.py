"""Read versions back and find those whose bytes are no longer what was signed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass

from amends.errors import AmendsError, Denied, DigestMismatch
from amends.governor.models.signatures import is_signed, signature_file
from amends.governor.workspace import Workspace
from amends.ledger import lineage
from amends.ledger.lineage import Version
from amends.records import ModelVersion
from amends.store.trees import fetch_manifest


@dataclass(frozen=True)
class Doubt:
    """A version that is not what it was; `is_proven` where its bytes or its signature are others, not only unread."""

    version: Version
    why: str
    is_proven: bool = True


def verify_version(workspace: Workspace, version: ModelVersion) -> bool:
    """Whether every file of a version, read back, is what its manifest says.

    Raises:
        DigestMismatch: One is not; it is set aside.
    """
    manifest = fetch_manifest(workspace.blobs, version.digest)
    for entry in manifest.files.values():
        if len(workspace.blobs.get(entry.sha256)) != entry.size:
            raise Denied(f"a file of {version} is not as long as its manifest says; restore it")
    with workspace.cache.scratch("verify") as folder:
        workspace.registry.download(version.name, version.version, folder, version.digest)
    return True


def doubts(workspace: Workspace, model: str = "", *, is_deep: bool = False) -> Iterator[Doubt]:
    """Yield the active versions that are not what was signed when they were registered.

    Without `is_deep` it reads signatures, and what earlier reads set aside; a version that nobody signed, as before
    versions were signed, is left alone here and refused by every promotion.

    Args:
        workspace: Whose versions.
        model: Only this one's; all where it is empty.
        is_deep: Read every byte of them, here and in MLflow.
    """
    with workspace.database.read() as connection:
        found = [v for v in lineage.versions_of(connection, model or None) if v.status == "active"]
    if not found:
        return
    keys, aside = workspace.keyring.public_keys(), frozenset(workspace.blobs.quarantined())
    for version in found:
        why = _shallow(workspace, version, keys, aside)
        if why:
            yield Doubt(version, why)
        elif is_deep:
            yield from _deep(workspace, version)


def _shallow(workspace: Workspace, version: Version, keys: Mapping[str, str], aside: Set[str]) -> str:
    digest = version.digest
    if signature_file(workspace, digest).exists() and not is_signed(workspace, digest, keys):
        return "what its signature signs is not this version"
    if aside and (digest in aside or aside & _files(workspace, digest)):
        return "a file of it had changed and was set aside"
    return ""


def _files(workspace: Workspace, digest: str) -> set[str]:
    has = workspace.blobs.has(digest)
    return {entry.sha256 for entry in fetch_manifest(workspace.blobs, digest).files.values()} if has else set()


def _deep(workspace: Workspace, version: Version) -> Iterator[Doubt]:
    """Read a version back; one that cannot be read is told, and only one that reads otherwise is proven."""
    try:
        verify_version(workspace, version.name)
    except (DigestMismatch, Denied):
        yield Doubt(version, "its bytes are not those that were signed")
    except AmendsError as error:
        yield Doubt(version, str(error), is_proven=False)
