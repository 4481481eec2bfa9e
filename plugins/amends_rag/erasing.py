"""Find a person in one index, erase them from every file of it, and look whether anything is left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from amends import BadInput, Disclosure
from amends.governor.subjects.locating import locate_in
from amends.governor.workspace import Workspace
from amends_rag.building import log_version
from amends_rag.chunking import Passage
from amends_rag.live import LiveIndex, held
from amends_rag.proof import prove, write_proof
from amends_rag.reconciling import standing_of
from amends_rag.rewriting import Shared, add_again, read_shared, rewritten
from amends_rag.sought import Sought


def count_in(workspace: Workspace, name: str, disclosure: Disclosure) -> int:
    """Return how many passages of an index hold a person."""
    with held(workspace.home, name) as index:
        return sum(1 for _ in _sought(workspace, disclosure).among(index.rows.passages))


def erase_from(workspace: Workspace, name: str, disclosure: Disclosure, actor: str) -> int:
    """Remove a person from an index, and return how many passages changed.

    Raises:
        BadInput: A file still holds the person, or its silence could not be tested.
    """
    with held(workspace.home, name) as index:
        sought = _sought(workspace, disclosure)
        changed = _changes(workspace, index, sought)
        if not changed:
            return 0
        before = list(index.rows.passages)
        index.shrink(_mask(len(before), changed))
        add_again(workspace, index, _again(before, changed, sought))
        index.settle()
        log_version(workspace, index, actor)
        proof = prove(workspace, index, disclosure, sought, [before[place].text for place in changed])
        write_proof(index.directory, proof)
    if proof.left:
        raise BadInput(
            f"the index {name!r} still holds the person in {proof.left} kinds of file, or they could not be searched; "
            "see proof.json beside it and run the case again"
        )
    return len(changed)


def left_in(workspace: Workspace, name: str, disclosure: Disclosure) -> int:
    """Return in how many passages, or else kinds of file, a person is found or cannot be ruled out."""
    with held(workspace.home, name) as index:
        sought = _sought(workspace, disclosure)
        found = sum(1 for _ in sought.among(index.rows.passages))
        return found or prove(workspace, index, disclosure, sought).left


def _sought(workspace: Workspace, disclosure: Disclosure) -> Sought:
    return Sought(disclosure, locate_in(workspace, disclosure, ()).pseudonyms)


def _changes(workspace: Workspace, index: LiveIndex, sought: Sought) -> dict[int, str | None]:
    """Return what is to become of rows, by place in memory: the words that stay, or None for a passage that goes."""
    changes: dict[int, str | None] = dict(standing_of(workspace, index))
    shared = read_shared(workspace.home)
    for place in sought.among(index.rows.passages):
        passage = index.rows.passages[place]
        others = set(passage.subjects) - sought.pseudonyms
        changes[place] = rewritten(passage, sought) if shared is Shared.REWRITE and others else None
    return changes


def _again(before: Sequence[Passage], changed: Mapping[int, str | None], sought: Sought) -> list[Passage]:
    """Return the passages that stay in other words, and are about the others alone."""
    kept = ((before[place], text) for place, text in changed.items() if text is not None)
    return [
        replace(old, text=text, subjects=tuple(who for who in old.subjects if who not in sought.pseudonyms))
        for old, text in kept
    ]


def _mask(count: int, changed: Iterable[int]) -> NDArray[np.bool_]:
    gone = np.zeros(count, bool)
    gone[list(changed)] = True
    return gone
