"""Where the indexes of a workspace lie; light to import, since every erasure asks for them."""

from __future__ import annotations

import re
from pathlib import Path

from amends import BadInput

FOLDER, INDEX = "indexes", "index.json"
STORE = "rag.indexes"  # what they are called together, where a person's data lies
ROLES = ("operator", "ml-engineer", "safety-engineer", "dpo")  # who may fill an index, and read what its passages say
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def directory_of(home: Path, name: str) -> Path:
    """Return where an index of that name lies, or would.

    Raises:
        BadInput: The name cannot be a folder's.
    """
    if not _NAME.fullmatch(name):
        raise BadInput(f"{name!r} cannot name an index; take up to 64 small letters, digits and ._-")
    return home / FOLDER / name


def names(home: Path) -> list[str]:
    """Return the names of all indexes of a workspace, sorted."""
    return sorted(file.parent.name for file in (home / FOLDER).glob(f"*/{INDEX}"))
