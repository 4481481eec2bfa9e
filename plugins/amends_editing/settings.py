"""Refuse what no method can do before a case is opened: two people would approve what then fails."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from amends import BadInput

LEAST = {
    "batch": 1, "steps": 1, "tokens": 1, "shards": 1, "contexts": 0, "demonstrations": 0, "weight": 0,
    "weight_per_fact": 0, "alpha": 0,
}  # fmt: skip
SHARES = ("shrinkage", "near", "density")
POSITIVE = ("near", "lr", "overshoot", "stop", "rate", "limit", "max_drift", "radius", "density")
NO_ERASURE = ("editing.ike", "editing.grace", "editing.patch", "editing.wise", "editing.ultraedit", "editing.ft")


def check_verbs(method: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Check that a method can do what edits ask for.

    Raises:
        BadInput: It knows no erasure, and one is asked for.
    """
    if method in NO_ERASURE and any(row["verb"] == "erase" for row in rows):
        raise BadInput(f"{method} knows no erasure; use editing.memit or editing.alphaedit")


def check_settings(method: str, given: Mapping[str, Any]) -> None:
    """Check the values of the parameters that the methods share; others, and other types, are not looked at.

    Args:
        method: The operation.
        given: Its parameters' values.

    Raises:
        BadInput: One is out of its range.
    """
    positive = (*POSITIVE, *(("threshold", "weight") if method == "editing.alphaedit" else ()))
    for name, value in given.items():
        if name == "layers" and isinstance(value, str) and value:
            named_layers(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            continue
        if value < LEAST.get(name, -math.inf):
            raise BadInput(f"{name} must be {LEAST[name]} or more, not {value}")
        if name in positive and value <= 0:
            raise BadInput(f"{name} must be above zero, not {value}")
        if name in SHARES and not 0 <= value <= 1:
            raise BadInput(f"{name} must lie between 0 and 1, not {value}")
        if name == "threshold" and method == "editing.ike" and not -1 <= value <= 1:
            raise BadInput(f"threshold must be a cosine, between -1 and 1, not {value}")


def named_layers(layers: str) -> list[int]:
    """Return the numbers of comma-separated layers.

    Raises:
        BadInput: They are not numbers.
    """
    try:
        return [int(part) for part in layers.split(",")]
    except ValueError:
        raise BadInput(f"layers must be numbers with commas between, such as 4,5,6, not {layers!r}") from None


def layers_of(layers: Sequence[int], depth: int) -> tuple[int, ...]:
    """Return layers that an edit may be written into, in order; the last block is left as it is.

    Args:
        layers: Their numbers, from 0.
        depth: How many blocks the model has.

    Raises:
        BadInput: There is none, or one that the model does not have.
    """
    found = tuple(sorted(set(layers)))
    if not found or found[0] < 0 or found[-1] >= depth - 1:
        raise BadInput(f"layers must be some of 0 to {depth - 2} (the last block is left as it is), not {list(layers)}")
    return found


def block_of(layer: int, depth: int) -> int:
    """Return a block beside which edits may stand; what enters the first is a token without its context.

    Args:
        layer: Its number, from 0.
        depth: How many blocks the model has.

    Raises:
        BadInput: The model has no such block.
    """
    if not 1 <= layer < depth:
        raise BadInput(f"layer must be 1 to {depth - 1}, not {layer}")
    return layer
