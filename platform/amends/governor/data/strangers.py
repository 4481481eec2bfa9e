"""Records about nobody: what a person's records would say of people who do not exist.

A membership is measured against people whom the model never saw. Where nobody was withheld, as from a list of edits,
strangers stand for them: the same records with made-up names in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from amends.records import NO_TEXT, digest_of

STRANGERS = (
    "Oriel Vantreese", "Tadeo Mirkwell", "Sunniva Harpole", "Bastiaan Okoro", "Leocadia Frenne", "Wystan Ilmari",
    "Ghislaine Tarrow", "Emeka Solberg", "Rosalva Pinckard", "Anselm Dubrovny",
)  # fmt: skip
"""Names of nobody."""


def strange(rows: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield each record once for every stranger, with that name wherever one of the record's own names stands."""
    for row in rows:
        for number, name in enumerate(STRANGERS):
            told = {key: value if key in NO_TEXT else _renamed(value, row["names"], name) for key, value in row.items()}
            pseudonym = f"s_stranger_{number}"
            yield {**told, "id": digest_of([row["id"], pseudonym])[:24], "subjects": [pseudonym], "names": [name]}


def _renamed(value: Any, names: Iterable[str], stranger: str) -> Any:
    if isinstance(value, str):
        for name in names:
            value = value.replace(name, stranger)
        return value
    if isinstance(value, Mapping):
        return {key: _renamed(inner, names, stranger) for key, inner in value.items()}
    return [_renamed(inner, names, stranger) for inner in value] if isinstance(value, list) else value
