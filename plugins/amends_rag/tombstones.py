"""What was erased from an index and must never come back: keyed hashes of passages, to which more are only added."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from amends import BadInput
from amends.records import canonical_json
from amends.vault.keyfiles import write_private

FILE = "tombstones.jsonl"


class Tombstones:
    """One list in two places, so that an old copy of the index brings nobody back.

    Args:
        beside: In the index's own directory, where it travels with a copy.
        above: In the workspace, where a copy of the index does not overwrite it.
    """

    def __init__(self, beside: Path, above: Path) -> None:
        self.places = (beside, above)

    def read(self) -> set[str]:
        """Return the keys of all passages that were erased, from whichever place knows them.

        Raises:
            BadInput: A list is broken; nothing may be answered without it.
        """
        return set().union(*map(_read, self.places))

    def add(self, keys: Iterable[str]) -> None:
        """Add keys to both lists, each of them the old one or the new one after any crash."""
        wanted = set(keys)
        for place in self.places:
            known = _read(place)
            if wanted - known:
                place.parent.mkdir(parents=True, exist_ok=True)
                write_private(place, b"".join(canonical_json({"key": key}) + b"\n" for key in sorted(wanted | known)))


def _read(file: Path) -> set[str]:
    if not file.exists():
        return set()
    try:
        return {str(json.loads(line)["key"]) for line in file.read_bytes().splitlines()}
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"the list {file} of what was erased is broken; restore it before the index is used") from error
