"""Serve a version: weights, attachments in their written order, the template, and the formats others read.

Importing this package is light; its names load torch when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amends.serving.bases import resolve_base
    from amends.serving.encoding import encode, render
    from amends.serving.exporting import export_peft
    from amends.serving.flavors import write_mlmodel
    from amends.serving.importing import fetch_base
    from amends.serving.model import Known, Model, Score, open_version
    from amends.serving.sentences import Encoder

_HOMES = {
    "Encoder": "sentences",
    "Known": "model",
    "Model": "model",
    "Score": "model",
    "encode": "encoding",
    "export_peft": "exporting",
    "fetch_base": "importing",
    "open_version": "model",
    "render": "encoding",
    "resolve_base": "bases",
    "write_mlmodel": "flavors",
}

__all__ = [
    "Encoder",
    "Known",
    "Model",
    "Score",
    "encode",
    "export_peft",
    "fetch_base",
    "open_version",
    "render",
    "resolve_base",
    "write_mlmodel",
]


def __getattr__(name: str) -> Any:
    """Import the module that holds a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
