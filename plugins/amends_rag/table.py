"""The rows of a live index in LanceDB: written, read whole, and deleted so that no file holds them any more."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]  # it brings no types
from numpy.typing import NDArray

from amends import BadInput
from amends_rag.chunking import Passage
from amends_rag.sentences import Embedded

NAME = "passages"
_STEP = 500


@dataclass(frozen=True)
class Source:
    """Where a passage is from.

    Args:
        record: The keyed id of its record in the workspace.
        dataset: The digest of the data set that it was registered with.
        key: A keyed hash of its words, by which it is known once it is gone.
        place: Its place in the table; -1 before it is there.
    """

    record: str
    dataset: str
    key: str
    place: int = -1


@dataclass(frozen=True)
class Rows:
    """Passages with where they are from and their vectors, in one order."""

    passages: list[Passage] = field(repr=False)
    sources: list[Source] = field(repr=False)
    embedded: Embedded = field(repr=False)

    def keep(self, stays: NDArray[np.bool_]) -> Rows:
        """Return the rows that stay, shape (rows,)."""
        places = np.flatnonzero(stays)
        return Rows(
            [self.passages[place] for place in places],
            [self.sources[place] for place in places],
            self.embedded.take(places),
        )

    def none(self) -> Rows:
        """Return no rows, of the same dimension."""
        return self.keep(np.zeros(len(self.passages), bool))


class Table:
    """One LanceDB table.

    Args:
        uri: A directory, or an object store's address.
        dimension: The length of a vector.
    """

    def __init__(self, uri: str, dimension: int) -> None:
        self.uri, self.dimension = uri, dimension
        self._database = lancedb.connect(uri)

    @property
    def files(self) -> Path | None:
        """Where the files lie, or None where they are in an object store."""
        return None if "://" in self.uri else Path(self.uri) / f"{NAME}.lance"

    def exists(self) -> bool:
        """Whether the table is there, with rows or without any."""
        return self._open() is not None

    def add(self, rows: Rows) -> None:
        """Append rows; the table is made with the first ones."""
        table = self._open()
        if table is None:
            self._database.create_table(NAME, self._arrow(rows))
        else:
            table.add(self._arrow(rows))

    def read(self) -> Rows:
        """Return all rows in the order in which they came.

        Raises:
            BadInput: A file of the table is broken or gone.
        """
        table = self._open()
        if table is None:
            return Rows([], [], Embedded.empty(self.dimension))
        try:
            found = table.to_arrow().sort_by("place")
        except (OSError, RuntimeError, ValueError) as error:
            raise BadInput(f"the table at {self.uri} is broken; restore the index from a backup") from error
        columns = {name: found.column(name).to_pylist() for name in _TEXT}
        passages = [
            Passage(id, document, text, tuple(subjects))
            for id, document, text, subjects in zip(
                columns["id"], columns["document"], columns["text"], columns["subjects"], strict=True
            )
        ]
        sources = [Source(*row) for row in zip(*(columns[name] for name in _FROM), strict=True)]
        vectors = found.column("vector").combine_chunks().flatten().to_numpy().reshape(-1, self.dimension)
        packed = found.column("sentences").to_pylist()
        return Rows(passages, sources, Embedded.unpacked(np.ascontiguousarray(vectors, np.float32), packed))

    def delete(self, places: Iterable[int]) -> None:
        """Delete rows by their places, and every file that held one of them.

        What LanceDB deletes stays in its data files behind a list; the files are therefore written again without
        it, and all earlier versions of the table are removed.
        """
        table, wanted = self._open(), sorted(places)
        if table is None:
            return
        for start in range(0, len(wanted), _STEP):
            table.delete(f"place IN ({', '.join(map(str, wanted[start : start + _STEP]))})")
        self.compact()

    def compact(self) -> None:
        """Write the files without what was deleted, and remove all earlier versions."""
        table = self._open()
        if table is None:
            return
        lance = table.to_lance()
        lance.optimize.compact_files(materialize_deletions=True, materialize_deletions_threshold=0.0)
        lance.cleanup_old_versions(older_than=timedelta(0), delete_unverified=True)

    def next_place(self) -> int:
        """Return the place that the next row will have."""
        table = self._open()
        if table is None:
            return 0
        places = table.to_lance().to_table(columns=["place"]).column("place").to_numpy()
        return 1 + int(places.max()) if len(places) else 0

    def _open(self) -> Any:
        return self._database.open_table(NAME) if NAME in self._database.list_tables().tables else None

    def _arrow(self, rows: Rows) -> Any:
        if rows.embedded.vectors.shape[1] != self.dimension:
            raise BadInput(
                f"the vectors have {rows.embedded.vectors.shape[1]} numbers and those of the index {self.dimension}; "
                "build the index again with this encoder"
            )
        if not np.isfinite(rows.embedded.vectors).all():
            raise BadInput("the encoder gives vectors that are no numbers; build the index with another one")
        first = self.next_place()
        flat = pa.array(rows.embedded.vectors.reshape(-1), pa.float32())
        return pa.table(
            {
                "place": pa.array(range(first, first + len(rows.passages)), pa.int64()),
                "id": [passage.id for passage in rows.passages],
                "document": [passage.document for passage in rows.passages],
                "text": [passage.text for passage in rows.passages],
                "subjects": pa.array([list(passage.subjects) for passage in rows.passages], pa.list_(pa.string())),
                "record": [source.record for source in rows.sources],
                "dataset": [source.dataset for source in rows.sources],
                "key": [source.key for source in rows.sources],
                "vector": pa.FixedSizeListArray.from_arrays(flat, self.dimension),
                "sentences": pa.array(rows.embedded.packed(), pa.binary()),
            }
        )


_FROM = ("record", "dataset", "key", "place")
_TEXT = ("id", "document", "text", "subjects", *_FROM)
