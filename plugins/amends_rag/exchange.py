"""What a change of an index puts in and takes out, written down before the table changes: all of it happens, or none.

A change that a kill interrupts is ended by whoever opens the index next, if the new rows are in the table; LanceDB adds
them all at once. If they are not, the change never was, and whoever asked for it asks again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from amends import BadInput
from amends.records import canonical_json
from amends.vault.keyfiles import write_private

FILE = "unfinished"


@dataclass(frozen=True)
class Exchange:
    """Rows by their places in the table; nothing of what they say.

    Args:
        first: From this place on new rows come; None where none do.
        gone: The places of the rows that go.
        for_good: Whether these were erased, and must never come back.
    """

    first: int | None = None
    gone: tuple[int, ...] = ()
    for_good: bool = False

    def left(self, places: Sequence[int]) -> NDArray[np.bool_]:
        """Return which of the table's rows have still to go, shape (rows,); none where the new ones did not come."""
        has_begun = self.first is None or any(place >= self.first for place in places)
        return np.isin(np.asarray(places, np.int64), self.gone if has_begun else ())


def begin(directory: Path, exchange: Exchange) -> None:
    """Write down what is about to change."""
    write_private(directory / FILE, canonical_json(asdict(exchange)) + b"\n")


def interrupted(directory: Path) -> Exchange | None:
    """Return the change that did not end, or None.

    Raises:
        BadInput: Nobody can tell what it was.
    """
    file = directory / FILE
    try:
        told = json.loads(file.read_bytes() or b"{}")  # empty, as releases before this one left it
        return Exchange(**{**told, "gone": tuple(told.get("gone", ()))})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, AttributeError) as error:
        raise BadInput(f"{file} is broken; restore the index from a backup, or build it again") from error


def end(directory: Path) -> None:
    """Forget it: it is done, or never was."""
    (directory / FILE).unlink(missing_ok=True)
