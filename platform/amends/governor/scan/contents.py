"""See inside the kinds of file whose bytes do not show what they hold."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from amends.governor.scan.kinds import SQLITE_SIDES

MOST_IN_MEMORY = 1 << 29  # bytes of a container inside another one
_BATCH = 1 << 20

Inside = tuple[str | None, BinaryIO]
"""A part's name and bytes; a part without a name holds rows, one after another, and is no file itself."""


class CannotSee(Exception):
    """A part cannot be seen into; the message says why, without personal data."""


def open_inside(kind: str, file: BinaryIO) -> Iterator[Inside]:
    """Yield the parts inside a seekable file of a kind that needs opening; nothing for every other kind.

    Raises:
        CannotSee: A part is encrypted, or needs a reader that is not installed.
        Exception: Whatever the kind's own reader raises for broken bytes.
    """
    return _READERS.get(kind, _nothing)(file)


def needs_opening(kind: str) -> bool:
    """Whether the bytes of such a file do not show what it holds."""
    return kind in _READERS


def _nothing(file: BinaryIO) -> Iterator[Inside]:
    return iter(())


def _gzip(file: BinaryIO) -> Iterator[Inside]:
    import gzip

    yield "", _buffered(gzip.GzipFile(fileobj=file))


def _bzip2(file: BinaryIO) -> Iterator[Inside]:
    import bz2

    yield "", _buffered(bz2.BZ2File(file))


def _xz(file: BinaryIO) -> Iterator[Inside]:
    import lzma

    with lzma.LZMAFile(file) as whole:
        yield "", _buffered(whole)


def _by_arrow(codec: str) -> Callable[[BinaryIO], Iterator[Inside]]:
    def read(file: BinaryIO) -> Iterator[Inside]:
        import pyarrow  # type: ignore[import-untyped]

        stream = pyarrow.CompressedInputStream(pyarrow.PythonFile(file, "r"), codec)
        yield "", io.BytesIO(read_limited(stream))

    return read


def _zip(file: BinaryIO) -> Iterator[Inside]:
    import zipfile

    with zipfile.ZipFile(_random_access(file)) as archive:
        for member in archive.infolist():
            if member.flag_bits & 1:
                raise CannotSee("a member is encrypted")
            yield f"{member.filename} {_text(member.comment)}", _buffered(archive.open(member))
        yield None, io.BytesIO(archive.comment)


def _tar(file: BinaryIO) -> Iterator[Inside]:
    import tarfile

    with tarfile.open(fileobj=file, mode="r|") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            yield f"{member.name} {member.linkname}".strip(), _buffered(content or io.BytesIO())


def _parquet(file: BinaryIO) -> Iterator[Inside]:
    import pyarrow.parquet  # type: ignore[import-untyped]

    table = pyarrow.parquet.ParquetFile(_random_access(file))
    yield None, io.BytesIO(str(table.schema_arrow).encode())
    yield from map(_rows, table.iter_batches())


def _arrow(file: BinaryIO) -> Iterator[Inside]:
    import pyarrow.ipc  # type: ignore[import-untyped]

    whole = _random_access(file)
    is_file = whole.read(6) == b"ARROW1"
    whole.seek(0)
    table = pyarrow.ipc.open_file(whole).read_all() if is_file else pyarrow.ipc.open_stream(whole).read_all()
    yield None, io.BytesIO(str(table.schema).encode())
    yield from map(_rows, table.to_batches())


def _rows(batch: Any) -> Inside:
    values = (value for column in batch.columns for value in column.to_pylist())
    return None, io.BytesIO(b"\n".join(_written(value) for value in values))


def _sqlite(file: BinaryIO) -> Iterator[Inside]:
    """Yield live rows, since a long value is cut across pages; free pages are in the file's own bytes."""
    import sqlite3
    from contextlib import closing

    if getattr(file, "name", "").endswith(SQLITE_SIDES) or not file.read(16).startswith(b"SQLite format 3"):
        return
    file.seek(0)
    with closing(sqlite3.connect(":memory:")) as database:
        database.deserialize(_rollback_header(read_limited(file)))
        database.text_factory = bytes
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0").fetchall()
        for (table,) in tables:
            quoted = table.decode().replace('"', '""')
            rows = database.execute(f'SELECT * FROM "{quoted}"')
            while batch := rows.fetchmany(1000):
                yield None, io.BytesIO(b"\n".join(_written(value) for row in batch for value in row))


def _rollback_header(data: bytes) -> bytes:
    """Return a database's bytes marked as not in WAL mode, which memory cannot have."""
    return data[:18] + b"\x01\x01" + data[20:]


def _written(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str).encode()


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _buffered(file: Any) -> BinaryIO:
    return io.BufferedReader(file, _BATCH)


def _random_access(file: BinaryIO) -> BinaryIO:
    return file if isinstance(getattr(file, "raw", file), io.FileIO | io.BytesIO) else io.BytesIO(read_limited(file))


def read_limited(file: Any) -> bytes:
    """Return all that is left of a stream.

    Raises:
        CannotSee: It is longer than fits into memory.
    """
    data: bytes = file.read(MOST_IN_MEMORY + 1)
    if len(data) > MOST_IN_MEMORY:
        raise CannotSee(f"it holds more than {MOST_IN_MEMORY >> 20} MiB, which is not unpacked")
    return data


_READERS: dict[str, Callable[[BinaryIO], Iterator[Inside]]] = {
    "gzip": _gzip,
    "bzip2": _bzip2,
    "xz": _xz,
    "zstandard": _by_arrow("zstd"),
    "lz4": _by_arrow("lz4"),
    "zip": _zip,
    "tar": _tar,
    "parquet": _parquet,
    "arrow": _arrow,
    "sqlite": _sqlite,
}
