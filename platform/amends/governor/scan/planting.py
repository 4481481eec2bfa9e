"""Plant living persons' strings in one file of each kind, so that a scan's silence about that kind means something."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from amends.governor.scan.needles import Needles

TEXT_KINDS = (".txt", ".json", ".jsonl", ".log", ".toml", ".html")


@contextmanager
def planted(directory: Path, controls: Sequence[Needles]) -> Iterator[Path]:
    """Lend a directory with files that name the control persons, while a scan runs; nothing of it stays.

    Args:
        directory: A new directory inside what is scanned.
        controls: Living persons whose records are kept.
    """
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True, mode=0o700)
    try:
        words = [item.data for control in controls for item in control.items if item.form == "utf-8"]
        _plant(directory, words)
        yield directory
    finally:
        shutil.rmtree(directory)


def _plant(directory: Path, words: Sequence[bytes]) -> None:
    for suffix in TEXT_KINDS:
        (directory / f"control{suffix}").write_bytes(b"\n".join(words))
    (directory / "control.bin").write_bytes(b"\x00\x01\xff" + b"\x00".join(words))
    _plant_safetensors(directory / "control.safetensors", b"".join(words))
    with closing(sqlite3.connect(directory / "control.sqlite")) as database:
        database.execute("CREATE TABLE control (word TEXT)")
        database.executemany("INSERT INTO control VALUES (?)", [(word.decode(),) for word in words])
        database.commit()


def _plant_safetensors(file: Path, data: bytes) -> None:
    import numpy
    from safetensors.numpy import save_file

    save_file({"control": numpy.frombuffer(data or b"\x00", dtype=numpy.uint8)}, str(file))
