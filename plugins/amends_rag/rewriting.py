"""What becomes of a passage that names two people when one of them is erased: it goes, or loses one name."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path

from amends import BadInput
from amends.governor.data.redacting import BLANK, LONGEST
from amends.governor.workspace import Workspace
from amends_rag.chunking import Passage
from amends_rag.cutting import key_of
from amends_rag.live import LiveIndex
from amends_rag.sentences import embed_passages
from amends_rag.sought import Sought
from amends_rag.table import Rows, Source

FILE = "rag.toml"
_WORD = re.compile(r"\S+")


class Shared(StrEnum):
    """What becomes of passages that name somebody else as well."""

    REMOVE = "remove"
    REWRITE = "rewrite"


def read_shared(home: Path) -> Shared:
    """Return what `rag.toml` of a workspace says: `shared = "remove"` where it says nothing.

    Removing is the default, because what is left of a sentence may still tell whom it was about.

    Raises:
        BadInput: The file has a mistake.
    """
    file = home / FILE
    if not file.exists():
        return Shared.REMOVE
    try:
        given = tomllib.loads(file.read_text(encoding="utf-8"))
        if unknown := sorted(given.keys() - {"shared"}):
            raise ValueError(f"there is no setting {unknown[0]!r}")
        return Shared(given.get("shared", Shared.REMOVE))
    except ValueError as error:
        raise BadInput(f'{file} has a mistake ({error}); it may say shared = "remove" or "rewrite"') from error


def rewritten(passage: Passage, sought: Sought) -> str | None:
    """Return the words without what names the person; None where they still might, or the document's name does."""
    if sought.named_in(passage.document):
        return None
    text = _without(passage.text, lambda part: sought.finder.find(part).exact)
    text = _without(text, lambda part: sought.finder.find(part).near is not None)
    left = sought.finder.find(text)
    return None if left.exact or left.near is not None or text == passage.text else text


def _without(text: str, names: Callable[[str], bool]) -> str:
    """Blank every run of words that names somebody: the shortest first, so that no word beside it goes with it."""
    for length in range(1, LONGEST + 1):
        words = list(_WORD.finditer(text))
        first = 0
        while first + length <= len(words):
            start, end = words[first].start(), words[first + length - 1].end()
            if names(text[start:end]):
                text = f"{text[:start]}{BLANK}{text[end:]}"
                words = list(_WORD.finditer(text))
            first += 1
    return text


def embedded_again(workspace: Workspace, index: LiveIndex, again: Sequence[tuple[Passage, Source]]) -> Rows:
    """Return passages that have other words now as new rows, those left out that the index has or must not have.

    Args:
        workspace: Whose index.
        index: The index.
        again: The passages, each with where it is from; without a record where none stands behind its words.
    """
    passages = [passage for passage, _ in again]
    sources = [
        Source(source.record, source.dataset, key_of(workspace, passage.document, passage.text))
        for passage, source in again
    ]
    if not passages:
        return index.rows.none()
    texts = [passage.text for passage in passages]
    return index.unknown(Rows(passages, sources, embed_passages(index.encoder(), texts)))
