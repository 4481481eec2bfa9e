"""Serve a version: weights, attachments in their written order, the template, and the formats others read.

Importing this package is light; its names load torch when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amends.serving.model import Model, Score, open_version

_HOMES = {"Model": "model", "Score": "model", "open_version": "model"}

__all__ = ["Model", "Score", "open_version"]


def __getattr__(name: str) -> Any:
    """Import the module that holds a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
