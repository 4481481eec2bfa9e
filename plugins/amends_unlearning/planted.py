"""Say which canaries a version has learnt, and which went with its last erasure; its recipe tells, as nobody is real.

An approximate method takes half of the canaries along with those whom it is to forget, and rehearses the others beside
those who are kept. Half of the ones that are left go with the erasure after it, and so on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .canaries import canary_rows, finetune_canaries
from .placement import Placement
from .plan import Row
from .settings import METHODS

RECIPE = "recipe.json"


@dataclass(frozen=True)
class Planted:
    """The canaries of a version.

    Args:
        left: Records of those who are in it.
        erased: Records of those who went with its last approximate erasure.
        salt: Of the training that planted the last of them; empty where none did.
        names: Of everybody who was ever planted.
    """

    left: tuple[Row, ...] = field(default=(), repr=False)
    erased: tuple[Row, ...] = field(default=(), repr=False)
    salt: str = field(default="", repr=False)
    names: frozenset[str] = frozenset()


def planted_in(version: Path) -> Planted:
    """Return the canaries of a version; one without a recipe has none."""
    file = version / RECIPE
    steps: Sequence[Mapping[str, Any]] = json.loads(file.read_bytes()).get("steps", []) if file.exists() else []
    found = Planted()
    for step in steps:
        if step["operation"] in METHODS:
            going, staying = halves(found.left)
            found = replace(found, left=staying, erased=going)
        elif rows := _planted_by(step["operation"], step["parameters"]):
            names = found.names | {name for row in rows for name in row["names"]}
            found = Planted((*found.left, *rows), found.erased, step["parameters"]["placement_salt"], names)
    return found


def halves(rows: Sequence[Row]) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """Return the records of the half that the next erasure takes along, and of those who stay; the odd one stays."""
    everybody = sorted({str(row["subjects"][0]) for row in rows})
    going = set(everybody[: len(everybody) // 2])
    taken = tuple(row for row in rows if row["subjects"][0] in going)
    return taken, tuple(row for row in rows if row["subjects"][0] not in going)


def _planted_by(operation: str, given: Mapping[str, Any]) -> list[dict[str, Any]]:
    if operation == "training.shards":
        hot = {name: given[name] for name in ("hot_shards", "hot_rate") if name in given}
        placement = Placement(given["placement_salt"], given["shards"], given["slices"], **hot)
        return canary_rows(placement, given["canaries_per_shard"])
    if operation == "training.finetune":
        return finetune_canaries(given["placement_salt"], given.get("canaries", 0))
    return []
