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
from amends_rag.exchange import Exchange, begin, end, interrupted
from amends_rag.lexical import Lexical
from amends_rag.places import INDEX, directory_of
from amends_rag.reranking import Reranker
from amends_rag.retriever import Retriever
from amends_rag.settings import Settings
from amends_rag.snapshot import read_lexical, write_lexical
from amends_rag.table import Rows, Table
from amends_rag.tombstones import FILE, Tombstones

EMBEDDED = "embedded"


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

    def encoder(self) -> TextEncoder:
        """Return what embedded the passages.

        Raises:
            BadInput: It is gone, or another one now.
        """
        encoder = open_encoder(Path(self.card.encoder) if self.card.encoder else None)
        self.card.settings.check(encoder)
        return encoder

    def retriever(self, reranker: Reranker | None = None) -> Retriever:
        """Return what answers queries, and perhaps ranks the best again.

        Raises:
            BadInput: The encoder is not the one that embedded the passages, or is gone.
        """
        fusion, encoder = self.card.settings.fusion, self.encoder()
        return Retriever(self.rows.passages, self.rows.embedded, self.lexical, fusion, encoder, reranker)

    def unknown(self, rows: Rows, gone: NDArray[np.bool_] | None = None) -> Rows:
        """Return those of some rows that the index neither has nor has erased.

        Args:
            rows: The rows.
            gone: Which of its own rows it will not have any more, shape (rows,); none, where nothing is said.
        """
        stays = np.ones(len(self.rows.sources), bool) if gone is None else ~gone
        kept = (source.key for source, is_kept in zip(self.rows.sources, stays, strict=True) if is_kept)
        known = self.tombstones.read().union(kept)
        return rows.keep(np.array([source.key not in known for source in rows.sources], bool))

    def take_out(self, gone: NDArray[np.bool_], *, for_good: bool) -> None:
        """Take rows out of every file, shape (rows,); nothing changes where none go."""
        if gone.any():
            self.exchange(self.rows.none(), gone, for_good=for_good)

    def exchange(self, come: Rows, gone: NDArray[np.bool_], *, for_good: bool) -> None:
        """Put rows in and take others out of every file; a kill leaves all of it to be ended, or nothing of it.

        It ends when the index is settled.

        Args:
            come: New rows, embedded.
            gone: Which of the rows that are there go, shape (rows,).
            for_good: Whether these are erased: then their tombstones keep them away.
        """
        leaving = [source for source, is_gone in zip(self.rows.sources, gone, strict=True) if is_gone]
        places = tuple(source.place for source in leaving)
        begin(self.directory, Exchange(self.table.next_place() if come.passages else None, places, for_good))
        if come.passages:
            self.table.add(come)
        if for_good:
            self.tombstones.add(source.key for source in leaving)
            remove(self.directory / EMBEDDED)
        if leaving:
            self.table.delete(places)
        self.rows = self.table.read() if come.passages else self.rows.keep(~gone)
        self.lexical = _words(self.rows, self.card.settings) if come.passages else self.lexical.without(gone)
        write_lexical(self.directory, self.lexical)

    def settle(self) -> None:
        """Write the card as the rows are now, a new version where its digest differs, and end what changed them."""
        named = {source.dataset for source in self.rows.sources} - {""}
        listed = tuple(sorted({heir for dataset in named for heir in self.card.standing(dataset)}))
        keys = sorted(source.key for source in self.rows.sources)
        manifest = digest_of({"settings": self.card.settings.row(), "sources": list(listed), "passages": keys})
        version = self.card.version + (manifest != self.card.manifest)
        self.card = replace(self.card, version=version, count=len(keys), sources=listed, manifest=manifest)
        write_card(self.directory, self.card)
        end(self.directory)


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
    left = interrupted(directory)
    if card.count and not table.exists():  # a disk that is not there must not pass for an index without anybody
        raise BadInput(f"the passages of the index {directory.name!r} are not at {table.uri}; bring the table back")
    if left is not None:
        table.compact()
    rows = table.read()
    index = LiveIndex(directory, card, rows, _kept_words(directory, rows, card.settings, is_whole=left is None))
    if left is not None:
        index.take_out(left.left([source.place for source in rows.sources]), for_good=left.for_good)
    erased = index.tombstones.read()
    index.take_out(np.asarray([source.key in erased for source in index.rows.sources], bool), for_good=True)
    if left is not None or index.rows is not rows:
        index.settle() if card.version else end(directory)  # a first build that was killed is no version yet
    return index


def _kept_words(directory: Path, rows: Rows, settings: Settings, *, is_whole: bool) -> Lexical:
    """Return the words beside the table, made again where they are not those of its rows."""
    if is_whole:
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
