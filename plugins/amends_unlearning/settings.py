"""What the approximate methods are called and what their settings may be, light to import."""

from __future__ import annotations

from typing import Literal

Weights = Literal["adapter", "full"]
"""What is trained: an adapter that is merged at the end, or the layers' own weights."""

METHODS = frozenset(
    f"unlearning.{name}"
    for name in (
        "ascent", "graddiff", "idk", "npo", "projection", "revert", "rmu", "simnpo", "subnetwork", "task-vector",
    )
)  # fmt: skip
"""The operations of `methods`, each of which takes half of the canaries along."""
