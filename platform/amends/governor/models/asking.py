"""Let a version answer by hand, from bytes that were checked just before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from amends.errors import BadInput, Denied, DigestMismatch, UnknownModel
from amends.governor.models.quarantine import QUARANTINED, quarantined_as, refuse_quarantined
from amends.governor.models.recipes import base_of
from amends.governor.workspace import Workspace
from amends.ledger import aliases, lineage
from amends.ledger.lineage import Version
from amends.operation.files import read_reference
from amends.store.blobs import LocalBlobs
from amends.store.trees import fetch_manifest, read_manifest

LONGEST_ANSWER = 1024  # tokens


def ask(
    workspace: Workspace,
    reference: str,
    prompts: Sequence[str],
    max_new_tokens: int = 48,
    *,
    with_quarantined: bool = False,
) -> list[str]:
    """Return a version's answers, in order.

    Args:
        workspace: Where the version is.
        reference: `model@alias`, `model@number`, or `model` for its champion.
        prompts: Questions.
        max_new_tokens: Length of the longest answer.
        with_quarantined: Ask a version that is set aside, too.

    Raises:
        BadInput: There is no such version, its bytes were purged, or there is nothing to ask.
        Denied: The version is sealed or quarantined.
        DigestMismatch: A file is not what the version's manifest says; it was set aside.
    """
    _check(prompts, max_new_tokens)
    version = served_version(workspace, reference, with_quarantined=with_quarantined)
    return _answers(workspace, version.digest, prompts, max_new_tokens)


def compare(
    workspace: Workspace,
    model: str,
    prompts: Sequence[str],
    max_new_tokens: int = 48,
    *,
    with_quarantined: bool = False,
) -> list[dict[str, Any]]:
    """Return a row for each base of a model and each of its versions that has bytes, oldest first, with its answers.

    A version that is sealed, or quarantined without `with_quarantined`, is listed and not asked: its `answers` are None
    and `reason` says why.

    Raises:
        UnknownModel: There is no such model.
    """
    _check(prompts, max_new_tokens)
    with workspace.database.read() as connection:
        found = lineage.versions_of(connection, model)
        names = aliases.aliases_of(connection, model)
    if not found:
        raise UnknownModel(f"there is no model {model!r}; see amends models list")
    alive = [version for version in found if version.status != "purged"]
    bases = dict.fromkeys(base_of(workspace, version.digest) for version in alive)
    rows = [_base_row(workspace, digest) for digest in bases if digest not in {v.digest for v in alive}]
    rows += [_row(version, sorted(a for a, number in names.items() if number == version.number)) for version in alive]
    for row in rows:
        other = None if with_quarantined else quarantined_as(workspace, row["digest"])
        if row["status"] == "active" and other is not None:
            row["reason"] = f"it has the files of {other.name}, which is quarantined; give --quarantined to ask it"
        elif row["status"] == "active" or (with_quarantined and row["status"] == QUARANTINED):
            row["answers"] = _answers(workspace, row["digest"], prompts, max_new_tokens)
    return rows


def served_version(workspace: Workspace, reference: str, *, with_quarantined: bool = False) -> Version:
    """Return the version that a reference names, if it may be served.

    Raises:
        BadInput: Its bytes were purged.
        Denied: It is sealed, or quarantined and not asked for as such.
    """
    with workspace.database.read() as connection:
        version = aliases.resolve(connection, reference)
    if version.status == "purged":
        raise BadInput(f"{version.name} was purged and its bytes are gone; ask another version of {version.model}")
    if version.status == "sealed":
        raise Denied(
            f"{version.name} is sealed until it is purged; ask another, see `amends models list {version.model}`"
        )
    if not with_quarantined:
        refuse_quarantined(workspace, version)
    return version


def verified_tree(workspace: Workspace, digest: str) -> Path:
    """Return a version's directory in the cache once every byte of it, and of its base, has been read and checked.

    Raises:
        DigestMismatch: A file is not what the manifest says; it was set aside.
    """
    if isinstance(workspace.blobs, LocalBlobs):
        _check_store(workspace, digest)
    path = workspace.cache.tree(digest)
    if read_manifest(path).digest != digest:
        workspace.cache.purge([digest])
        raise DigestMismatch(f"the cached copy of {digest[:12]} had changed and was removed; run the same again")
    base = read_reference(path)
    if base is not None:
        verified_tree(workspace, base)
    return path


def _check_store(workspace: Workspace, digest: str) -> None:
    """Read every file of a tree from a store on this machine; what has changed there goes to quarantine."""
    with workspace.cache.scratch("check") as folder:
        copy = folder / "blob"
        for entry in fetch_manifest(workspace.blobs, digest).files.values():
            workspace.blobs.fetch(entry.sha256, copy)
            copy.unlink()


def _check(prompts: Sequence[str], max_new_tokens: int) -> None:
    if not prompts or not all(prompt.strip() for prompt in prompts):
        raise BadInput("there is nothing to ask; give one question or more")
    if not 1 <= max_new_tokens <= LONGEST_ANSWER:
        raise BadInput(f"an answer has between 1 and {LONGEST_ANSWER} new tokens, not {max_new_tokens}")


def _answers(workspace: Workspace, digest: str, prompts: Sequence[str], max_new_tokens: int) -> list[str]:
    from amends.serving import open_version

    model = open_version(verified_tree(workspace, digest), workspace.host)
    return list(model.generate(list(prompts), max_new_tokens))


def _base_row(workspace: Workspace, digest: str) -> dict[str, Any]:
    with workspace.database.read() as connection:
        named = lineage.by_digest(connection, digest)
    return {**_row(named[0], []), "is_base": True}


def _row(version: Version, names: list[str]) -> dict[str, Any]:
    reasons = {
        "quarantined": "it is quarantined; give --quarantined to ask it all the same",
        "sealed": "it is sealed until it is purged",
        "purged": "its bytes were purged",
    }
    return {
        "version": str(version.name),
        "digest": version.digest,
        "status": version.status,
        "aliases": names,
        "is_base": False,
        "answers": None,
        "reason": reasons.get(version.status, ""),
    }
