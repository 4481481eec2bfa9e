"""The one keyed hash of the vault."""

from __future__ import annotations

import hmac


def keyed_hash(key: bytes, *parts: str) -> str:
    """Return the hex HMAC-SHA256 of `parts`, framed by their lengths: `("ab", "c")` differs from `("a", "bc")`."""
    encoded = [part.encode() for part in parts]
    return hmac.digest(key, b"".join(len(part).to_bytes(8, "big") + part for part in encoded), "sha256").hex()
