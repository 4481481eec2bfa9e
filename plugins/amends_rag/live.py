"""A live index in a workspace: a table, its words beside it, and what it was made with; opened, grown and shrunk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from amends import BadInput
from amends.records import digest_of
from amends.store.scratch import remove
from amends.vault.keyfiles import locked
from amends_rag.card import Card, write_card
from amends_rag.dense import TextEncoder, open_encoder
from amends_rag.lexical import Lexical
from amends_rag.places import INDEX, directory_of
from amends_rag.retriever import Retriever
from amends_rag.settings import Settings
from amends_rag.snapshot import read_lexical, write_lexical
from amends_rag.table import Rows, Table
from amends_rag.tombstones import FILE, Tombstones

UNFINISHED, EMBEDDED = "unfinished", "embedded"


@dataclass
class LiveIndex:
    """One index, in memory as on disk; change it only within `held`."""

    directory: Path
    card: Card
    rows: Rows = field(repr=False)
    lexical: Lexical = field(repr=False)

    @property
    def name(self) -> str:
        """What people call it."""
        return self.directory.name

    @property
    def table(self) -> Table:
        """Where the rows are."""
        return Table(self.card.uri or str(self.directory / "table"), self.card.settings.dimension)

    @property
    def tombstones(self) -> Tombstones:
        """What was erased from it."""
        return tombstones_of(self.directory)

    def retriever(self, encoder: TextEncoder | None = None) -> Retriever:
        """Return what answers queries.

        Raises:
            BadInput: The encoder is not the one that embedded the passages, or is gone.
        """
        encoder = encoder or open_encoder(Path(self.card.encoder) if self.card.encoder else None)
        self.card.settings.check(encoder)
        return Retriever(self.rows.passages, self.rows.embedded, self.lexical, self.card.settings.fusion, encoder)

    def append(self, rows: Rows) -> None:
        """Add rows, and write the words again."""
        with self._unfinished():
            self.table.add(rows)
            self.rows = self.table.read()
            self.lexical = _words(self.rows, self.card.settings)

    def shrink(self, gone: NDArray[np.bool_]) -> None:
        """Remove rows from every file, shape (rows,): their tombstones first, so that nothing interrupts it halfway."""
        self.tombstones.add(source.key for source, is_gone in zip(self.rows.sources, gone, strict=True) if is_gone)
        with self._unfinished():
            self.table.delete(source.place for source, is_gone in zip(self.rows.sources, gone, strict=True) if is_gone)
            self.rows, self.lexical = self.rows.keep(~gone), self.lexical.without(gone)
            remove(self.directory / EMBEDDED)

    def settle(self) -> None:
        """Write the card as the rows are now; it is a new version where its digest differs."""
        named = {source.dataset for source in self.rows.sources} - {""}
        listed = tuple(sorted({heir for dataset in named for heir in self.card.standing(dataset)}))
        keys = sorted(source.key for source in self.rows.sources)
        manifest = digest_of({"settings": self.card.settings.row(), "sources": list(listed), "passages": keys})
        version = self.card.version + (manifest != self.card.manifest)
        self.card = replace(self.card, version=version, count=len(keys), sources=listed, manifest=manifest)
        write_card(self.directory, self.card)

    @contextmanager
    def _unfinished(self) -> Iterator[None]:
        (self.directory / UNFINISHED).touch()
        yield
        write_lexical(self.directory, self.lexical)
        (self.directory / UNFINISHED).unlink()


def tombstones_of(directory: Path) -> Tombstones:
    """Return the tombstones of the index in a directory."""
    return Tombstones(directory / FILE, directory.with_name(f"{directory.name}.{FILE}"))


@contextmanager
def held(home: Path, name: str) -> Iterator[LiveIndex]:
    """Lend an index that nobody else changes meanwhile.

    What was erased from it since this copy of it was made is erased again, and an interrupted change is ended,
    before anything can be asked.

    Raises:
        BadInput: There is none of that name, or it is broken.
    """
    directory = directory_of(home, name)
    if not (directory / INDEX).is_file():
        raise BadInput(f"there is no index {name!r}; see amends rag index list")
    with locked(directory):
        yield _opened(directory)


def _opened(directory: Path) -> LiveIndex:
    card = Card.read(directory / INDEX)
    table = Table(card.uri or str(directory / "table"), card.settings.dimension)
    if (directory / UNFINISHED).exists():
        table.compact()
    rows = table.read()
    index = LiveIndex(directory, card, rows, _kept_words(directory, rows, card.settings))
    (directory / UNFINISHED).unlink(missing_ok=True)
    erased = index.tombstones.read()
    gone = np.asarray([source.key in erased for source in rows.sources], bool)
    if gone.any():
        index.shrink(gone)
        index.settle()
    return index


def _kept_words(directory: Path, rows: Rows, settings: Settings) -> Lexical:
    """Return the words beside the table, made again where they are not those of its rows."""
    if not (directory / UNFINISHED).exists():
        try:
            kept = read_lexical(directory, settings.words)
            if kept.count == len(rows.passages):
                return kept
        except (OSError, ValueError, KeyError, SafetensorError):
            pass
    made = _words(rows, settings)
    write_lexical(directory, made)
    return made


def _words(rows: Rows, settings: Settings) -> Lexical:
    return Lexical.build([passage.text for passage in rows.passages], settings.words)
