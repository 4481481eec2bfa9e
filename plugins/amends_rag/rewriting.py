"""What becomes of a passage that names two people when one of them is erased: it goes, or loses one name."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from amends import BadInput
from amends.governor.data.redacting import redact
from amends.governor.workspace import Workspace
from amends_rag.chunking import Passage
from amends_rag.dense import open_encoder
from amends_rag.live import LiveIndex
from amends_rag.sentences import embed_passages
from amends_rag.sought import Sought
from amends_rag.table import Rows, Source

FILE = "rag.toml"


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
    """Return the words without what names the person; None where too much does, or the document's name."""
    if sought.named_in(passage.document):
        return None
    row = {"id": "", "text": passage.text}
    try:
        text = str(redact(row, sought.finder)["text"])
    except BadInput:
        return None
    return None if text == passage.text else text


def add_again(workspace: Workspace, index: LiveIndex, kept: Sequence[tuple[Passage, str]]) -> None:
    """Put rewritten passages back, embedded anew; no record stands behind them any more."""
    if not kept:
        return
    from amends_rag.building import key_of

    encoder = open_encoder(Path(index.card.encoder) if index.card.encoder else None)
    index.card.settings.check(encoder)
    passages = [Passage(old.id, old.document, text, old.subjects) for old, text in kept]
    sources = [Source("", "", key_of(workspace, passage.document, passage.text)) for passage in passages]
    index.append(Rows(passages, sources, embed_passages(encoder, [passage.text for passage in passages])))
