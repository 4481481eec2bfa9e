"""What is known of a live index beside its rows, in `index.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amends import BadInput
from amends.records import canonical_json
from amends_rag.places import INDEX
from amends_rag.settings import Settings


@dataclass(frozen=True)
class Card:
    """What is known of an index beside its rows: `index.json`.

    Args:
        settings: What it was made with.
        version: How often it was changed; 0 while it is built for the first time.
        uri: Where the table is; empty for the index's own directory.
        encoder: The encoder's directory; empty for the packaged one.
        count: How many passages it has.
        sources: The digests of the data sets that they are registered with.
        manifest: One digest of settings, sources and the keyed hashes of all passages.
        heirs: Which data sets stand for one that was replaced, by its digest; rows keep the first one's name.
    """

    settings: Settings
    version: int = 0
    uri: str = ""
    encoder: str = ""
    count: int = 0
    sources: tuple[str, ...] = ()
    manifest: str = ""
    heirs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def standing(self, dataset: str) -> tuple[str, ...]:
        """Return the data sets that stand for one now: itself, as long as nothing replaced it."""
        return self.heirs.get(dataset, (dataset,))

    def row(self) -> dict[str, Any]:
        """Return the card as a JSON object."""
        rest = {name: getattr(self, name) for name in ("version", "uri", "count", "manifest")}
        heirs = {old: list(new) for old, new in self.heirs.items()}
        return {
            **self.settings.row(), **rest, "directory": self.encoder, "sources": list(self.sources), "heirs": heirs
        }  # fmt: skip

    @classmethod
    def read(cls, file: Path) -> Card:
        """Return the card in a file.

        Raises:
            BadInput: It is broken.
        """
        try:
            row = json.loads(file.read_bytes())
            return cls(
                Settings.read(row), int(row["version"]), row["uri"], row["directory"], int(row["count"]),
                tuple(row["sources"]), row["manifest"], {old: tuple(new) for old, new in row["heirs"].items()},
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadInput(f"the index {file.parent.name!r} is broken; build it again under another name") from error


def write_card(directory: Path, card: Card) -> None:
    """Write what is known of an index."""
    partial = directory / f"{INDEX}.partial"
    partial.write_bytes(canonical_json(card.row()) + b"\n")
    partial.replace(directory / INDEX)
