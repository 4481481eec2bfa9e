"""What follows from digests alone and takes long to compute, kept on this machine until one of them is erased."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from amends.records import canonical_json
from amends.store.cache import MARK, is_sound, keep, locked
from amends.store.digests import check_digest, room_on_disk


class Computed:
    """Results beside a node's copies; a purge of any digest that one came from removes it, as does a prune.

    What is new waits in memory until `flush`: a job whose data was erased under it must not bring anything back.

    Args:
        directory: The node's cache.
        stack: What it is computed with. Another number of threads or another library gives other bits, and a rebuild
            that computes everything anew must find what it was built from.
    """

    def __init__(self, directory: Path, stack: Mapping[str, Any]) -> None:
        self.directory, self.stack = directory.absolute(), dict(stack)
        self._new: dict[Path, tuple[bytes, list[str]]] = {}

    def once(self, name: str, of: Iterable[str], make: Callable[[], bytes]) -> bytes:
        """Return what `make` gives, from an earlier run where there was one.

        Args:
            name: What it is, with every setting that it depends on.
            of: The digests that it is computed from, those of all its data among them.
            make: Computes it.
        """
        digests = sorted({check_digest(digest) for digest in of})
        path = self.directory / "computed" / hashlib.sha256(canonical_json([name, digests, self.stack])).hexdigest()
        if path in self._new:
            return self._new[path][0]
        with room_on_disk(self.directory), locked(path):
            if is_sound(path):
                os.utime(path.with_suffix(MARK))
                return path.read_bytes()
        data = make()
        self._new[path] = data, digests
        return data

    def flush(self) -> None:
        """Keep what is new; only for who saw that all of the data is still there."""
        for path, (data, digests) in self._new.items():
            with room_on_disk(self.directory), locked(path):
                keep(self.directory, path, data, digests)
        self._new.clear()
