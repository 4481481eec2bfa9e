"""Embed many passages in batches: kept as they are done, so that a killed build goes on, and spread over a cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import load, save

from amends.records import digest_of
from amends.store.digests import room_on_disk
from amends.store.scratch import remove
from amends_rag.dense import TextEncoder, open_encoder
from amends_rag.sentences import Embedded, embed_passages

BATCH = 64
AHEAD = 2
"""So many batches for each core wait on the cluster."""

Bar = Callable[[int, int, str], None]
Task = tuple[Path, list[str]]


class Batches:
    """Embedded batches in a directory of the index, each named by what it holds.

    Args:
        directory: Where they wait until the table has them; vectors are personal data like the words.
        encoder: What embeds.
        bar: Told how many passages are done.
    """

    def __init__(self, directory: Path, encoder: TextEncoder, bar: Bar) -> None:
        self.directory, self.encoder, self.bar = directory, encoder, bar

    def embed(self, texts: Sequence[str], keys: Sequence[str], cores: int = 0) -> Embedded:
        """Return the vectors of passages; batches that an earlier build embedded are not embedded again.

        Args:
            texts: The passages.
            keys: A keyed hash of each, which names it outside.
            cores: On how many cores of a running Ray; 0 embeds here.
        """
        found: dict[Path, Embedded | None] = {}
        waiting: list[Task] = []
        for start in range(0, len(texts), BATCH):
            file = self.directory / f"{digest_of([self.encoder.digest, list(keys[start : start + BATCH])])}.safetensors"
            found[file] = _read(file)
            if found[file] is None:
                waiting.append((file, list(texts[start : start + BATCH])))
        done = len(found) - len(waiting)
        self.bar(min(done * BATCH, len(texts)), len(texts), "embedding the passages")
        made = _on_ray(self._where(), waiting, cores) if cores else _here(self.encoder, waiting)
        for file, data in made:
            _keep(file, data)
            found[file] = Embedded(**load(data))
            done += 1
            self.bar(min(done * BATCH, len(texts)), len(texts), "embedding the passages")
        return Embedded.joined([one for one in found.values() if one is not None], self.encoder.dimension)

    def drop(self) -> None:
        """Remove every batch."""
        remove(self.directory)

    def _where(self) -> str | None:
        return None if self.encoder.is_packaged else str(self.encoder.directory)


def embed_batch(directory: str | None, texts: list[str]) -> bytes:
    """Return the vectors of one batch as a file's bytes; what a task of Ray runs."""
    return _embedded(open_encoder(None if directory is None else Path(directory)), texts)


def _embedded(encoder: TextEncoder, texts: list[str]) -> bytes:
    data: bytes = save(embed_passages(encoder, texts).arrays())
    return data


def _here(encoder: TextEncoder, tasks: list[Task]) -> Iterator[tuple[Path, bytes]]:
    return ((file, _embedded(encoder, texts)) for file, texts in tasks)


def _on_ray(directory: str | None, tasks: list[Task], cores: int) -> Iterator[tuple[Path, bytes]]:
    """Yield batches as they are done, in any order; so few wait at once that the cluster's memory stays free."""
    import ray

    remote = ray.remote(num_cpus=1, max_retries=2)(embed_batch)
    left = list(reversed(tasks))
    running: dict[object, Path] = {}
    while left or running:
        while left and len(running) < AHEAD * cores:
            file, texts = left.pop()
            running[remote.remote(directory, texts)] = file
        (ready,), _ = ray.wait(list(running), num_returns=1)
        yield running.pop(ready), ray.get(ready)


def _keep(file: Path, data: bytes) -> None:
    with room_on_disk(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
        partial.write_bytes(data)
        partial.replace(file)


def _read(file: Path) -> Embedded | None:
    """Return a kept batch, or None where there is none that can be read."""
    try:
        return Embedded(**load(file.read_bytes()))
    except (OSError, SafetensorError, TypeError, ValueError):
        return None
