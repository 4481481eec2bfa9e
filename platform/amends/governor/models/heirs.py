"""What took the place of versions that held a person, so that what was made with them can be made again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from amends.ledger import aliases, lineage

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from amends.ledger.lineage import Version

Recorded = Mapping[str, Any]


def taught_by(steps: Iterable[Recorded], versions: Collection[str]) -> set[str]:
    """Return which of these versions a recipe's steps were given beside their source, as teachers or to be merged."""
    return {digest for step in steps for digest in step.get("models", {}).values() if digest in versions}


def heir_of(connection: Connection, digest: str, tainted: Collection[str]) -> Version | None:
    """Return what stands for a version that was rebuilt without somebody: its model's champion, or else the newest.

    Args:
        connection: Any connection.
        digest: The version that held them.
        tainted: Every version that holds them; none of these takes another's place.
    """
    found = [v for v in lineage.rebuilt_from(connection, digest) if v.digest not in tainted and v.status == "active"]
    served = [v for v in found if aliases.current(connection, v.model, aliases.DEFAULT) == v.number]
    return next(iter([*served, *reversed(found)]), None)


def heirs_of(connection: Connection, digests: Iterable[str], tainted: Collection[str]) -> dict[str, str]:
    """Return the digest of what took the place of each of these versions; those without are left out."""
    found = {digest: heir_of(connection, digest, tainted) for digest in sorted(digests)}
    return {digest: heir.digest for digest, heir in found.items() if heir is not None}
