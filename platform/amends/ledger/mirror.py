"""What MLflow says of a model: aliases, versions and their tags, to compare with the ledger and to put back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from amends.ledger.registry import Registry
from amends.ledger.tracking import answering, plain


@dataclass(frozen=True)
class Mirrored:
    """A model as it stands in MLflow: its aliases, and the tags of each version that is there."""

    aliases: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[int, Mapping[str, str]] = field(default_factory=dict)


def look(registry: Registry, model: str) -> Mirrored:
    """Return a model as it stands in MLflow now; an empty one where MLflow has none of that name."""
    wanted = f"name = '{plain(model)}'"
    with answering("versions"):
        found = registry.client.search_registered_models(wanted)
        names = dict(found[0].aliases) if found else {}
        versions: dict[int, Mapping[str, str]] = {}
        token = None
        while True:
            page = registry.client.search_model_versions(wanted, max_results=200, page_token=token)
            versions |= {int(version.version): dict(version.tags) for version in page}
            token = page.token
            if not token:
                return Mirrored({alias: int(number) for alias, number in names.items()}, versions)


def put_alias(registry: Registry, model: str, alias: str, version: int) -> None:
    """Let an alias stand for a version in MLflow, wherever it stands there now."""
    registry.set_alias(model, alias, version, registry.alias(model, alias))
