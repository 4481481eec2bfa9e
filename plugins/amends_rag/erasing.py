"""Find a person in one index, erase them from every file of it, and look whether anything is left."""

from __future__ import annotations

from amends import BadInput, Disclosure
from amends.governor.subjects.locating import locate_in
from amends.governor.workspace import Workspace
from amends.store.scratch import remove
from amends_rag.live import EMBEDDED, LiveIndex
from amends_rag.proof import prove, write_proof
from amends_rag.reconciling import Changes, change, opened, standing_of
from amends_rag.rewriting import Shared, read_shared, rewritten
from amends_rag.sought import Sought
from amends_rag.versions import log_version

REPLACED = ("superseded", "purged")
"""What a data set is once another one stands for it."""


def count_in(workspace: Workspace, name: str, disclosure: Disclosure) -> int:
    """Return how many passages of an index hold a person."""
    with opened(workspace, name) as index:
        return sum(1 for _ in _sought(workspace, disclosure).among(index.rows.passages))


def erase_from(workspace: Workspace, name: str, disclosure: Disclosure, actor: str) -> int:
    """Remove a person from an index, and return how many passages changed.

    Raises:
        BadInput: A file still holds the person, or its silence could not be tested.
    """
    with opened(workspace, name) as index:
        remove(index.directory / EMBEDDED)  # what a killed build left may be theirs, and bytes of vectors tell nobody
        sought = _sought(workspace, disclosure)
        changes = _changes(workspace, index, sought)
        said = [index.rows.passages[place].text for place in changes.words]
        if not said:
            return 0
        change(workspace, index, changes, sought.pseudonyms)
        index.settle()
        log_version(workspace, index, actor)
        proof = prove(workspace, index, disclosure, sought, said)
        write_proof(index.directory, proof)
    if proof.left:
        raise BadInput(_unproven(index, proof.left))
    return len(said)


def _unproven(index: LiveIndex, left: int) -> str:
    """Say why nobody may call an index empty of a person."""
    if index.table.files is None:
        return (
            f"no passage of the index {index.name!r} holds the person any more, but what the object store of its table "
            "keeps of deleted files cannot be seen from here; build the index again under another name without --uri, "
            "delete this one there and its folder in the workspace, and run the case again"
        )
    return (
        f"the index {index.name!r} still holds the person in {left} kinds of file, or they could not be searched; "
        "see proof.json beside it and run the case again"
    )


def left_in(workspace: Workspace, name: str, disclosure: Disclosure) -> int:
    """Return in how many passages, or else kinds of file, a person is found or cannot be ruled out."""
    with opened(workspace, name) as index:
        sought = _sought(workspace, disclosure)
        found = sum(1 for _ in sought.among(index.rows.passages))
        return found or prove(workspace, index, disclosure, sought).left


def _sought(workspace: Workspace, disclosure: Disclosure) -> Sought:
    return Sought(disclosure, locate_in(workspace, disclosure, ()).pseudonyms)


def _changes(workspace: Workspace, index: LiveIndex, sought: Sought) -> Changes:
    """Return what is to become of rows, by place in memory: the words that stay, or None where it goes."""
    changes = standing_of(workspace, index, REPLACED)
    shared = read_shared(workspace.home)
    for place in sought.among(index.rows.passages):
        passage = index.rows.passages[place]
        others = set(passage.subjects) - sought.pseudonyms
        changes.put(place, rewritten(passage, sought) if shared is Shared.REWRITE and others else None)
    return changes
