"""Split what is measured: methods and the ladder look at one half, the audit judges on the other."""

from __future__ import annotations

import hashlib


def half_of(identity: str) -> str:
    """Return `method` or `audit` for a record's id, the same wherever it is asked.

    A method that stops when its own readings look right has used them up as evidence.
    """
    return "audit" if hashlib.sha256(f"half:{identity}".encode()).digest()[0] % 2 else "method"
