"""What the methods' settings may be, light to import."""

from __future__ import annotations

from typing import Literal

Weights = Literal["adapter", "full"]
"""What is trained: an adapter that is merged at the end, or the layers' own weights."""
