"""Which scorers there are, and what each says of itself."""

from __future__ import annotations

from typing import Any

from amends import BadInput
from amends_detox.scoring import find, names


def list_scorers() -> list[dict[str, Any]]:
    """Return name, version, attributes and licence of every scorer; one that cannot be used has a `problem`."""
    return [_describe(name) for name in names()]


def _describe(name: str) -> dict[str, Any]:
    try:
        scorer = find(name)
    except BadInput as error:
        return {"name": name, "version": "", "attributes": [], "licence": "", "problem": str(error)}
    return {
        "name": name,
        "version": scorer.version,
        "attributes": list(scorer.attributes),
        "licence": scorer.licence,
        "problem": "",
    }
